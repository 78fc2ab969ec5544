import type { IncomingMessage, ServerResponse } from 'node:http';
import { parse as parseContentType } from 'content-type';
import { Problem } from '../model/problem.js';

export const JSON_TYPE = 'application/json';
const FORM_TYPE = 'application/x-www-form-urlencoded';
const CHARSETS = ['utf-8', 'utf8'];

/** The format of a request's body, by its headers. Throws a Problem if it is not JSON or a form, in plain UTF-8. */
export function bodyFormatOf({ headers }: IncomingMessage): 'json' | 'form' {
  const { type, parameters } = parseContentType(headers['content-type'] ?? '');
  if (type.startsWith('multipart/'))
    throw new Problem(
      'unsupported_media_type',
      `The body is ${type}, as PHP's curl makes it of an array. Send JSON: json_encode(…), with the header "Content-Type: ${JSON_TYPE}".`,
    );
  if (type !== FORM_TYPE && type !== JSON_TYPE)
    throw new Problem(
      'unsupported_media_type',
      `Send the header "Content-Type: ${JSON_TYPE}" (or ${FORM_TYPE}).`,
    );
  const { charset } = parameters;
  if (charset !== undefined && !CHARSETS.includes(charset.toLowerCase()))
    throw new Problem('unsupported_media_type', `The charset is ${charset}; send UTF-8.`);
  const transfer = headers['transfer-encoding']?.toLowerCase() ?? 'chunked';
  if ((headers['content-encoding'] ?? 'identity') !== 'identity' || transfer !== 'chunked')
    throw new Problem(
      'unsupported_media_type',
      'Compressed bodies are not taken; send it without Content-Encoding and Transfer-Encoding.',
    );
  return type === FORM_TYPE ? 'form' : 'json';
}

/** The body; undefined if the caller went away. Throws or rejects with a Problem if it has more than `limit` bytes. */
export function readBody(
  request: IncomingMessage,
  response: ServerResponse,
  limit: number,
): Promise<Buffer | undefined> {
  const announced = Number(request.headers['content-length'] ?? 0);
  if (announced > limit) throw bodyTooLarge(announced, limit);
  // Asks for the body only now: a refused caller never sends it (RFC 9110 §10.1.1).
  const { expect } = request.headers;
  if (expect?.toLowerCase() === '100-continue' && request.httpVersion === '1.1') response.writeContinue();
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= limit) chunks.push(chunk);
      else {
        chunks.length = 0;
        reject(bodyTooLarge(bytes, limit));
      }
    });
    request.on('end', () => resolve(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks)));
    request.on('close', () => resolve(undefined));
    request.on('error', () => resolve(undefined));
  });
}

function bodyTooLarge(bytes: number, limit: number): Problem {
  return new Problem(
    'payload_too_large',
    `The body has ${bytes} bytes or more; the limit is ${limit}. Send several smaller requests.`,
  );
}

import { reasonOf } from '../model/reason.js';
import { signedHeaders } from './signature.js';

// What is read of an answer that nobody needs, so that its connection can be used again.
const MAX_IGNORED_BYTES = 64 * 1024;
const IGNORED_MS = 1000;

/** PHP, at one address. Only this address is ever asked: redirects are not followed. */
export class Receiver {
  readonly #url: string;
  readonly #key: Buffer;
  readonly #version: string;
  readonly #timeoutMs: number;
  readonly #now: () => number;

  constructor(options: {
    url: string;
    /** The key of the signatures. */
    key: Buffer;
    version: string;
    /** For the whole request. */
    timeoutMs: number;
    /** Milliseconds since the epoch. */
    now: () => number;
  }) {
    this.#url = options.url;
    this.#key = options.key;
    this.#version = options.version;
    this.#timeoutMs = options.timeoutMs;
    this.#now = options.now;
  }

  /** Posts a signed JSON text. Resolves when PHP has answered 2xx; rejects with the reason if it did not. */
  async post(id: string, body: string, stopping: AbortSignal): Promise<void> {
    const rest = new AbortController();
    const signal = AbortSignal.any([stopping, AbortSignal.timeout(this.#timeoutMs), rest.signal]);
    const response = await fetch(this.#url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'user-agent': `Postroom/${this.#version}`,
        ...signedHeaders(this.#key, id, Math.floor(this.#now() / 1000), body),
      },
      body,
      redirect: 'manual',
      signal,
    }).catch((error: unknown) => {
      throw new Error(this.#reasonOf(error), { cause: error });
    });
    await ignore(response, rest);
    if (response.ok) return;
    const hint = response.status >= 300 && response.status < 400 ? '; redirects are not followed' : '';
    throw new Error(`it answered ${response.status}${hint}`);
  }

  #reasonOf(error: unknown): string {
    if (!(error instanceof Error)) return String(error);
    if (error.name === 'TimeoutError') return `it did not answer within ${this.#timeoutMs / 1000} s`;
    // fetch says only that it failed; the cause says why.
    return reasonOf(error.cause ?? error);
  }
}

/** Reads a body to its end, if that is near. */
async function ignore({ body }: Response, rest: AbortController): Promise<void> {
  if (body === null) return;
  const timer = setTimeout(() => rest.abort(), IGNORED_MS);
  let bytes = 0;
  try {
    for await (const chunk of body) {
      bytes += chunk.length;
      if (bytes > MAX_IGNORED_BYTES) break;
    }
  } catch {
    // The status has come, and it is all that counts.
  } finally {
    clearTimeout(timer);
  }
}

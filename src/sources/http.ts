import { isUtf8 } from 'node:buffer';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import type { Publishers } from '../auth/keys.js';
import type { Postroom, Receipt } from '../core/postroom.js';
import type { ScheduleReceipt } from '../core/schedule.js';
import { bodyFormatOf, JSON_TYPE, readBody } from '../http/body.js';
import { sendProblem } from '../http/problem.js';
import { formToJson } from '../model/form.js';
import {
  type KeyBeside,
  maxBodyBytes,
  type Notification,
  type Parsed,
  type ParseNotifications,
} from '../model/notification.js';
import { internalProblem, invalidNotification, Problem } from '../model/problem.js';
import type { Refusals } from '../model/refusals.js';
import { inTurns } from '../model/turns.js';

export interface NotifyOptions {
  readonly postroom: Postroom;
  readonly parse: ParseNotifications;
  readonly keys: Publishers;
  readonly maxNotificationBytes: number;
  /** The network address of the caller. */
  readonly callerOf: (request: IncomingMessage) => string;
  readonly refusals: Refusals;
  readonly log: Logger;
}

/** `POST /notify`, without Express: with Express, a server answers only a sixth as many requests. */
export class NotifyEndpoint {
  readonly #options: NotifyOptions;
  readonly #maxBodyBytes: number;
  readonly #logsPublished: boolean;
  /** Notifications accepted, including those with a repeated key. */
  taken = 0;
  /** Requests, and items of batches, that were refused. */
  refused = 0;

  constructor(options: NotifyOptions) {
    this.#options = options;
    this.#logsPublished = options.log.isLevelEnabled('debug');
    this.#maxBodyBytes = maxBodyBytes(options.maxNotificationBytes);
  }

  /** Answers one request. Never throws. */
  handle(request: IncomingMessage, response: ServerResponse): void {
    this.#answer(request, response).catch(error => {
      const problem = this.#refuse(error, request);
      if (response.destroyed || response.headersSent) return;
      sendProblem(response, problem);
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { keys, parse, maxNotificationBytes } = this.#options;
    if (request.method !== 'POST')
      throw new Problem('method_not_allowed', `/notify takes POST, not ${request.method}.`, {
        headers: { Allow: 'POST' },
      });
    keys.require(request.headers.authorization);
    const isForm = bodyFormatOf(request) === 'form';
    // A form has one notification, and needs up to three bytes (%XX) for one byte of it.
    const limit = isForm ? Math.min(3 * maxNotificationBytes, this.#maxBodyBytes) : this.#maxBodyBytes;
    const body = await readBody(request, response, limit);
    if (body === undefined) return;
    if (!isUtf8(body)) throw new Problem('invalid_json', 'The body is not valid UTF-8.');
    const text = body.toString();
    if (isForm && isObjectOrArray(text))
      throw new Problem(
        'unsupported_media_type',
        `The body is JSON, but its Content-Type says that it is a form, as curl does by default. Send the header "Content-Type: ${JSON_TYPE}".`,
      );
    const { batch, items } = parse(isForm ? formToJson(text) : text, idempotencyKey(request));
    if (batch) return this.#answerBatch(request, response, items);
    const [item] = [...items];
    if (item === undefined || item instanceof Problem) throw item;
    const receipt = await this.#publish(item);
    send(response, 'scheduled' in receipt ? 202 : 200, receipt);
  }

  async #answerBatch(
    request: IncomingMessage,
    response: ServerResponse,
    items: Parsed['items'],
  ): Promise<void> {
    const checked: (Notification | Problem)[] = [];
    // Checks the whole batch before it publishes the first item: a batch that cannot be parsed publishes nothing.
    await inTurns(items, item => checked.push(item));
    const answers: Promise<Receipt | ScheduleReceipt | { error: Problem }>[] = [];
    // Publishes in order, but does not wait for one before the next: so the journal can commit them together.
    await inTurns(checked, item => answers.push(this.#result(item, request)));
    const results = await Promise.all(answers);
    const failed = results.some(result => 'error' in result);
    send(response, failed ? 207 : 200, { results });
  }

  async #result(
    item: Notification | Problem,
    request: IncomingMessage,
  ): Promise<Receipt | ScheduleReceipt | { error: Problem }> {
    try {
      if (item instanceof Problem) throw item;
      return await this.#publish(item);
    } catch (error) {
      return { error: this.#refuse(error, request) };
    }
  }

  #report(problem: Problem, request: IncomingMessage): void {
    // A fault of our own is logged where it happens.
    if (problem.status >= 500) return;
    const { refusals, callerOf } = this.#options;
    const address = callerOf(request);
    if (problem.code === 'unauthorized') refusals.refused('wrong key', { path: '/notify', address });
    else refusals.refused('invalid notification', { code: problem.code, reason: problem.message, address });
  }

  async #publish(notification: Notification): Promise<Receipt | ScheduleReceipt> {
    const { postroom, log } = this.#options;
    const receipt = await postroom.accept(notification);
    this.taken++;
    const { event, addresses } = notification;
    // Saves the work if the log does not show the line.
    if (this.#logsPublished) log.debug({ ...receipt, event, addresses }, 'published');
    return receipt;
  }

  #refuse(error: unknown, request: IncomingMessage): Problem {
    this.refused++;
    if (error instanceof Problem) {
      this.#report(error, request);
      return error;
    }
    this.#options.log.error({ err: error }, 'a publish failed');
    return internalProblem(error);
  }
}

function send(response: ServerResponse, status: number, answer: object): void {
  const body = JSON.stringify(answer);
  response.writeHead(status, { 'Content-Type': JSON_TYPE, 'Content-Length': Buffer.byteLength(body) });
  response.end(body);
}

/** Whether the text begins like JSON. A form never does: it begins with a name. */
function isObjectOrArray(text: string): boolean {
  return /^\s*[{[]/.test(text);
}

function idempotencyKey({ headers }: IncomingMessage): KeyBeside | undefined {
  const key = headers['idempotency-key'];
  if (typeof key !== 'string') return undefined;
  // Node reads headers as Latin-1. A key in a body is UTF-8, and the same key must be equal in both places.
  const bytes = Buffer.from(key, 'latin1');
  const path = 'Idempotency-Key';
  if (!isUtf8(bytes)) throw invalidNotification([{ path, message: 'is not UTF-8' }]);
  return { key: bytes.toString(), chosen: true };
}

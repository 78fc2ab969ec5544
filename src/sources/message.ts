import { isUtf8 } from 'node:buffer';
import { elementTexts } from '../model/json.js';
import { Problem } from '../model/problem.js';

// A batch may have more faults: so many are named in the reason.
const MOST_REASONS = 5;

/** What a broker brings. */
export interface Message {
  /** A body as `POST /notify` takes it: JSON, one notification or a batch. */
  readonly body: Buffer | string;
  /** The idempotency key if the body has none: the same each time that the broker delivers the message. */
  readonly key?: string | undefined;
  /** For a body in another format: returns it as our JSON. Throws a Problem if that is not possible. */
  readonly translate?: (text: string) => string;
}

/** A message that can never be taken, whole or in part. It belongs to the dead letters. */
export interface Refused<M extends Message> {
  readonly message: M;
  /** The body of the message; of a batch, the refused notifications, as a batch. */
  readonly body: Buffer | string;
  /** What to change, in one line. */
  readonly reason: string;
}

/** A message that is being taken, and what is wrong with it. */
export class Letter<M extends Message> {
  readonly message: M;
  /** The text of the message if it is a batch. */
  batch: string | undefined;
  readonly #problems: { problem: Problem; index: number | undefined }[] = [];

  constructor(message: M) {
    this.message = message;
  }

  /** How many problems it has: one for each refused notification, or one for the whole message. */
  get problems(): number {
    return this.#problems.length;
  }

  /** @param index of the notification in a batch */
  addProblem(problem: Problem, index?: number): void {
    this.#problems.push({ problem, index });
  }

  /** The message with its problems. Call it only if there are some. */
  refused(): Refused<M> {
    const { message, batch } = this;
    const reasons = this.#problems.slice(0, MOST_REASONS).map(({ problem }) => problem.message);
    if (this.problems > reasons.length) reasons.push(`and ${this.problems - reasons.length} more`);
    const reason = reasons.join(' ');
    if (batch === undefined) return { message, body: message.body, reason };
    const texts = [...elementTexts(batch)];
    const indexes = this.#problems.map(({ index = 0 }) => index).sort((a, b) => a - b);
    const items = indexes.map(index => texts[index]);
    return { message, body: `[${items.join()}]`, reason };
  }
}

/** The body of a message, as our JSON. Throws a Problem if the body is larger than the limit or cannot be read. */
export function textOf({ body, translate }: Message, maxBytes: number): string {
  const bytes = Buffer.byteLength(body);
  if (bytes > maxBytes)
    throw new Problem('payload_too_large', `The message has ${bytes} bytes; the limit is ${maxBytes}.`);
  if (typeof body !== 'string' && !isUtf8(body))
    throw new Problem('invalid_json', 'The message is not valid UTF-8.');
  const text = body.toString();
  return translate === undefined ? text : translate(text);
}

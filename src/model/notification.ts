import type { Address } from './address.js';
import { fieldsOf } from './notification-fields.js';
import type { Id, Moment } from './id.js';
import { elementTexts, isArrayText, memberText } from './json.js';
import { invalidNotification, Problem } from './problem.js';
import { reasonOf } from './reason.js';
import { isShortText, KEY_RULE, ownCopy } from './text.js';

/** A checked notification of a backend. */
export interface Notification {
  /** Whom it is for, without repetition: rooms, then users, connections, everyone. At least one. */
  readonly addresses: readonly Address[];
  readonly event: string;
  /** JSON text, as it was posted. */
  readonly data: string;
  /** Ids of connections that do not get it. */
  readonly except: readonly string[];
  /** Idempotency key. */
  readonly key: string | undefined;
  /** For so many seconds it can be replayed; undefined: as long as the past is retained. */
  readonly ttl: number | undefined;
  /** JSON text: the connection and the user that published it, if a client did. */
  readonly from?: string | undefined;
  /** Of several with this name for the same addresses, the past brings only the newest. */
  readonly collapse?: string | undefined;
  /** Seconds in which it should be acknowledged; undefined: nobody is asked to. */
  readonly ack?: number | undefined;
  /** Seconds that the answer may take until all have acknowledged; undefined: it does not wait for that. */
  readonly wait?: number | undefined;
  /** When to send it, in milliseconds since the epoch. Not in the journal: there it has been sent. */
  readonly at?: number | undefined;
}

/** A notification that is in the journal. */
export interface Entry extends Moment {
  readonly id: Id;
  /** The node that appended it; undefined in a journal that no other node shares. */
  readonly node?: string | undefined;
  readonly notification: Notification;
}

export interface NotificationLimits {
  /** Bytes of one notification's JSON text. */
  readonly maxBytes: number;
  /** The largest `ttl`, in seconds. */
  readonly retentionSeconds: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** A parsed body: one notification, or a batch of independent items. */
export interface Parsed {
  readonly batch: boolean;
  /**
   * The items in order. Items of a batch are read and checked one by one during the iteration, which works once: so a
   * large batch can be spread over several turns of the event loop. Throws a Problem if the batch as a whole is wrong.
   */
  readonly items: Iterable<Notification | Problem>;
}

/** The idempotency key that came beside a body. In a batch each item gets it with its index. */
export interface KeyBeside {
  readonly key: string;
  /** Whether the publisher chose it. Then another key in the body is an error; otherwise the key in the body wins. */
  readonly chosen: boolean;
}

export type ParseNotifications = (text: string, beside?: KeyBeside) => Parsed;

export const MAX_BATCH = 1000;
const MAX_BATCH_BYTES = 8 * 1024 * 1024;

/** The most bytes of a body: a batch of the largest notifications, but never more than 8 MiB. */
export function maxBodyBytes(maxNotificationBytes: number): number {
  return Math.max(maxNotificationBytes, Math.min(MAX_BATCH * maxNotificationBytes, MAX_BATCH_BYTES));
}

/**
 * The one validator, the same for every source. The result parses a JSON text: one object, or an array of up to 1,000.
 * It throws a Problem if the text as a whole is wrong. If an item of a batch is wrong, the Problem takes its place.
 */
export function notificationParser(limits: NotificationLimits): ParseNotifications {
  const { maxBytes, retentionSeconds } = limits;

  function parseOne(text: string, beside: KeyBeside | undefined, path: string): Notification {
    const bytes = text.length > maxBytes / 3 ? Buffer.byteLength(text) : text.length;
    if (bytes > maxBytes) throw tooLarge(bytes, maxBytes);
    const { addresses, event, hasData, except, key, ttl, ack, wait, collapse, at } = fieldsOf(
      parseJson(text, path),
      path,
      retentionSeconds,
      limits.now(),
    );
    if (beside?.chosen && key !== undefined && key !== beside.key)
      throw invalidNotification([
        { path: `${path}key`, message: 'differs from the header Idempotency-Key; send one of them' },
      ]);
    const notification = {
      addresses,
      event,
      data: hasData ? ownCopy(memberText(text, 'data') ?? 'null') : 'null',
      except,
      key: key ?? beside?.key,
      ttl,
    };
    // Most have none of these, and many are kept in memory.
    const isPlain = ack === undefined && collapse === undefined && at === undefined && wait === undefined;
    return isPlain ? notification : { ...notification, ack, wait, collapse, at };
  }

  function* parseBatch(text: string, beside: KeyBeside | undefined): Generator<Notification | Problem, void> {
    let index = 0;
    for (const item of elementsOf(text)) {
      if (index === MAX_BATCH)
        throw invalidNotification([
          { path: '', message: `a batch has at most ${MAX_BATCH} notifications, this one has more` },
        ]);
      const own = beside && { ...beside, key: `${beside.key}:${index}` };
      const path = `[${index}].`;
      yield orProblem(() => requireNoWait(parseOne(item, own, path), path));
      index++;
    }
  }

  return (text, beside) => {
    if (beside?.chosen && !isShortText(beside.key))
      throw invalidNotification([{ path: 'Idempotency-Key', message: KEY_RULE }]);
    return isArrayText(text)
      ? { batch: true, items: parseBatch(text, beside) }
      : { batch: false, items: [parseOne(text, beside, '')] };
  };
}

/** The answer of a batch would come as late as its slowest item. */
function requireNoWait(notification: Notification, path: string): Notification {
  if (notification.wait === undefined) return notification;
  throw invalidNotification([{ path: `${path}wait`, message: 'cannot be used in a batch; post it alone' }]);
}

/** If the JSON of one item is wrong, the body as a whole is wrong. */
function orProblem(parse: () => Notification): Notification | Problem {
  try {
    return parse();
  } catch (error) {
    if (error instanceof Problem && error.code !== 'invalid_json') return error;
    throw error;
  }
}

function* elementsOf(text: string): Generator<string, void> {
  try {
    yield* elementTexts(text);
  } catch (error) {
    throw error instanceof SyntaxError ? notJson(error, '') : error;
  }
}

function tooLarge(bytes: number, limit: number): Problem {
  return new Problem(
    'payload_too_large',
    `This notification has ${bytes} bytes; the limit is ${limit}. Send less (an id to fetch the rest by, say) or raise MAX_NOTIFICATION_BYTES.`,
  );
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (text.trim() === '') throw new Problem('invalid_json', 'The body is empty; send one JSON object.');
    throw notJson(error, path);
  }
}

function notJson(error: unknown, path: string): Problem {
  const position = path === '' ? '' : ` (in the item ${path.slice(0, -1)})`;
  return new Problem('invalid_json', `The body is not valid JSON${position}: ${reasonOf(error)}.`);
}

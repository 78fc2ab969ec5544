import { z } from 'zod';
import {
  type Address,
  connectionAddress,
  EVERYONE,
  isConnectionId,
  isRoomName,
  ROOM_RULE,
  roomAddress,
  userAddress,
} from './address.js';
import type { Id, Moment } from './id.js';
import { elementTexts, memberText } from './json.js';
import { isNear } from './near.js';
import { type Fault, invalidNotification, MAX_FAULTS, Problem } from './problem.js';
import { isShortText } from './text.js';

/** What a backend posts, checked. */
export interface Notification {
  /** Whom it is for, each once: rooms, then users, connections, everyone. At least one. */
  readonly addresses: readonly Address[];
  readonly event: string;
  /** JSON text, as it was posted. */
  readonly data: string;
  /** Connection ids that it is not sent to. */
  readonly except: readonly string[];
  /** Idempotency key. */
  readonly key: string | undefined;
  /** Seconds that it stays replayable; undefined: as long as the past is retained. */
  readonly ttl: number | undefined;
}

/** A notification that is in the journal. */
export interface Entry extends Moment {
  readonly id: Id;
  readonly notification: Notification;
}

export interface NotificationLimits {
  /** Bytes of one notification's JSON text. */
  readonly maxBytes: number;
  /** The greatest `ttl`. */
  readonly retentionSeconds: number;
}

/** A body that was taken apart: one notification, or a batch whose items stand on their own. */
export interface Parsed {
  readonly batch: boolean;
  readonly items: readonly (Notification | Problem)[];
}

/** The idempotency key that came beside a body; in a batch each item gets it with its index. */
export interface KeyBeside {
  readonly key: string;
  /** Whether the publisher chose it, so that another one in the body is a contradiction; else the body's own goes first. */
  readonly chosen: boolean;
}

export type ParseNotifications = (text: string, beside?: KeyBeside) => Parsed;

export const MAX_BATCH = 1000;
const MAX_BATCH_BYTES = 8 * 1024 * 1024;
const FIELDS = [
  'room',
  'rooms',
  'user',
  'users',
  'connection',
  'connections',
  'everyone',
  'event',
  'data',
  'except',
  'key',
  'ttl',
];

/** The most that a body may weigh, in bytes: a batch of the largest, but never more than 8 MiB. */
export function maxBodyBytes(maxNotificationBytes: number): number {
  return Math.max(maxNotificationBytes, Math.min(MAX_BATCH * maxNotificationBytes, MAX_BATCH_BYTES));
}

/**
 * The one validator, the same for every source. What it returns parses a JSON text, one object or an
 * array of up to 1,000; it throws a Problem when the text as a whole cannot be taken, and puts the
 * Problem in the place of an item of a batch that cannot.
 */
export function notificationParser(limits: NotificationLimits): ParseNotifications {
  const schema = notificationSchema(limits.retentionSeconds);

  function parseOne(value: unknown, text: string, beside: KeyBeside | undefined, path: string): Notification {
    const bytes = text.length > limits.maxBytes / 3 ? Buffer.byteLength(text) : text.length;
    if (bytes > limits.maxBytes) throw tooLarge(bytes, limits.maxBytes);
    const checked = schema.safeParse(value);
    if (!checked.success)
      throw invalidNotification(
        checked.error.issues.slice(0, MAX_FAULTS).flatMap(issue => faultsOf(issue, path)),
      );
    const fields = checked.data;
    if (beside?.chosen && fields.key !== undefined && fields.key !== beside.key)
      throw invalidNotification([
        { path: `${path}key`, message: 'differs from the header Idempotency-Key; send one of them' },
      ]);
    const addresses = addressesOf(fields);
    if (addresses.length === 0) throw invalidNotification([noAddress(path)]);
    return {
      addresses,
      event: fields.event,
      data: 'data' in fields ? (memberText(text, 'data') ?? 'null') : 'null',
      except: fields.except,
      key: fields.key ?? beside?.key,
      ttl: fields.ttl,
    };
  }

  return (text, beside) => {
    if (beside?.chosen && !isShortText(beside.key))
      throw invalidNotification([{ path: 'Idempotency-Key', message: KEY_RULE }]);
    const value = parseJson(text);
    if (!Array.isArray(value)) return { batch: false, items: [parseOne(value, text, beside, '')] };
    if (value.length > MAX_BATCH)
      throw invalidNotification([
        { path: '', message: `a batch has at most ${MAX_BATCH} notifications, this one has ${value.length}` },
      ]);
    const texts = elementTexts(text);
    const items = value.map((item, index) => {
      try {
        const own = beside && { ...beside, key: `${beside.key}:${index}` };
        return parseOne(item, texts[index] ?? '', own, `[${index}].`);
      } catch (error) {
        if (error instanceof Problem) return error;
        throw error;
      }
    });
    return { batch: true, items };
  };
}

function tooLarge(bytes: number, limit: number): Problem {
  return new Problem(
    'payload_too_large',
    `This notification has ${bytes} bytes; the limit is ${limit}. Send less (an id to fetch the rest by, say) or raise MAX_NOTIFICATION_BYTES.`,
  );
}

const KEY_RULE = 'must be 1 to 200 characters of well-formed Unicode';
const EVENT_RULE = 'must be a string of 1 to 200 characters';
const USER_RULE =
  'must be a string of 1 to 200 characters or a whole number below 2^53 (larger: send it as a string)';
const CONNECTION_RULE = 'must be a connection id, as in the welcome frame: two numbers joined by a dot';

function notificationSchema(retentionSeconds: number) {
  const room = z.string({ error: 'must be a string' }).refine(isRoomName, ROOM_RULE);
  const user = z
    .custom<string | number>(value => isShortText(value) || Number.isSafeInteger(value), USER_RULE)
    .transform(String);
  const connection = z.custom<string>(
    value => typeof value === 'string' && isConnectionId(value),
    CONNECTION_RULE,
  );
  const ttlRule = `must be a whole number of seconds from 0 to ${retentionSeconds} (RETENTION_SECONDS)`;
  return z.strictObject(
    {
      room: room.optional(),
      rooms: z.array(room, 'must be a list of room names').optional(),
      user: user.optional(),
      users: z.array(user, 'must be a list of user ids').optional(),
      connection: connection.optional(),
      connections: z.array(connection, 'must be a list of connection ids').optional(),
      everyone: z.boolean('must be true or false').optional(),
      event: z.custom<string>(isShortText, EVENT_RULE),
      data: z.unknown().optional(),
      except: z.preprocess(
        value => (value === undefined ? [] : Array.isArray(value) ? value : [value]),
        z.array(connection),
      ),
      key: z.custom<string>(isShortText, KEY_RULE).optional(),
      ttl: z
        .custom<number>(
          value => Number.isInteger(value) && Number(value) >= 0 && Number(value) <= retentionSeconds,
          ttlRule,
        )
        .optional(),
    },
    { error: issue => (issue.code === 'invalid_type' ? 'must be a JSON object' : undefined) },
  );
}

type Fields = z.output<ReturnType<typeof notificationSchema>>;

function addressesOf(fields: Fields): Address[] {
  const addresses = new Set<Address>();
  if (fields.room !== undefined) addresses.add(roomAddress(fields.room));
  for (const room of fields.rooms ?? []) addresses.add(roomAddress(room));
  if (fields.user !== undefined) addresses.add(userAddress(fields.user));
  for (const user of fields.users ?? []) addresses.add(userAddress(user));
  if (fields.connection !== undefined) addresses.add(connectionAddress(fields.connection));
  for (const connection of fields.connections ?? []) addresses.add(connectionAddress(connection));
  if (fields.everyone) addresses.add(EVERYONE);
  return [...addresses];
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Problem(
      'invalid_json',
      text.trim() === ''
        ? 'The body is empty; send one JSON object.'
        : `The body is not valid JSON: ${reason}.`,
    );
  }
}

function noAddress(path: string): Fault {
  return {
    path: path.replace(/\.$/, ''),
    message:
      'names nobody to send to; give room, rooms, user, users, connection, connections or everyone: true',
  };
}

function faultsOf(issue: z.core.$ZodIssue, prefix: string): Fault[] {
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map(key => ({ path: prefix + key, message: unknownField(key) }));
  const path = issue.path.reduce<string>(
    (whole, part) => (typeof part === 'number' ? `${whole}[${part}]` : whole + String(part)),
    prefix,
  );
  return [{ path: path.replace(/\.$/, ''), message: issue.message }];
}

function unknownField(key: string): string {
  const meant = FIELDS.find(field => isNear(key.toLowerCase(), field));
  return meant === undefined
    ? `is not a field; the fields are ${FIELDS.join(', ')}`
    : `is not a field; did you mean ${meant}?`;
}

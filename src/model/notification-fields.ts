import {
  type Address,
  connectionAddress,
  BROADCAST,
  isConnectionId,
  isRoomName,
  ROOM_RULE,
  roomAddress,
  userAddress,
} from './address.js';
import { unportable } from './json.js';
import { isNear } from './near.js';
import { type Fault, invalidNotification, MAX_FAULTS } from './problem.js';
import { isShortText, KEY_RULE } from './text.js';

/** The checked fields of a notification. */
export interface Fields {
  /** Without repetition: rooms, then users, connections, everyone. At least one. */
  readonly addresses: readonly Address[];
  readonly event: string;
  readonly hasData: boolean;
  readonly except: readonly string[];
  readonly key: string | undefined;
  readonly ttl: number | undefined;
  readonly ack: number | undefined;
  readonly wait: number | undefined;
  readonly collapse: string | undefined;
  /** When to send it, in milliseconds since the epoch; undefined: now. */
  readonly at: number | undefined;
}

/** The most names in one list. */
export const MAX_LIST = 25_000;

const NAMES = [
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
  'ack',
  'wait',
  'at',
  'delay',
  'collapse',
];
const IS_NAME = new Set(NAMES);

// `at` and `delay` reach so far.
const MAX_DELAY_SECONDS = 30 * 24 * 60 * 60;
const MAX_WAIT_SECONDS = 30;
const DELAY_RULE = `must be a number of seconds from 0 to ${MAX_DELAY_SECONDS} (30 days)`;
const AT_RULE =
  'must be a moment in RFC 3339, such as 2026-12-24T18:00:00+01:00, or the seconds since the epoch';
const TOO_LATE = `must be a moment in the next ${MAX_DELAY_SECONDS / (24 * 60 * 60)} days`;
const COLLAPSE_RULE = 'must be 1 to 200 characters of well-formed Unicode';

const EVENT_RULE = 'must be a string of 1 to 200 characters';
const USER_RULE =
  'must be a string of 1 to 200 characters or a whole number below 2^53 (larger: send it as a string)';
const CONNECTION_RULE = 'must be a connection id, as in the welcome frame: two numbers joined by a dot';
const NOBODY =
  'the notification names nobody to send to; give room, rooms, user, users, connection, connections or everyone: true';

/**
 * Checks the fields of a notification. Throws a Problem (`invalid_notification`) with up to ten faults. Then it looks
 * no further, so that a wrong notification costs no more than a right one.
 * @param path goes before the names of the fields in the faults
 * @param now milliseconds since the epoch
 */
export function fieldsOf(value: unknown, path: string, retentionSeconds: number, now: number): Fields {
  if (!isObject(value))
    throw invalidNotification([{ path: path.replace(/\.$/, ''), message: 'must be a JSON object' }]);
  const check = new Check(value, path);
  const addresses = new Set<Address>();
  const addRoom = (name: string) => addresses.add(roomAddress(name));
  check.name(
    'room',
    value => (Array.isArray(value) ? 'must be a string; send a list as rooms' : roomFault(value)),
    addRoom,
  );
  check.list('rooms', 'room names', roomFault, addRoom);
  const addUser = (id: string) => addresses.add(userAddress(id));
  check.name('user', userFault, addUser);
  check.list('users', 'user ids', userFault, addUser);
  const addConnection = (id: string) => addresses.add(connectionAddress(id));
  check.name('connection', connectionFault, addConnection);
  check.list('connections', 'connection ids', connectionFault, addConnection);
  const { everyone, event, except, key, ttl, ack, wait, collapse } = value;
  if (everyone === true) addresses.add(BROADCAST);
  check.that('everyone', everyone === undefined || typeof everyone === 'boolean', 'must be true or false');
  check.that('event', event !== undefined, 'is missing');
  check.that('event', event === undefined || isShortText(event), EVENT_RULE);
  const excepted: string[] = [];
  const addExcepted = (id: string) => excepted.push(id);
  if (Array.isArray(except)) check.list('except', 'connection ids', connectionFault, addExcepted);
  else check.name('except', connectionFault, addExcepted);
  check.that('key', key === undefined || typeof key === 'string', EVENT_RULE);
  check.that('key', typeof key !== 'string' || isShortText(key), KEY_RULE);
  check.that(
    'ttl',
    ttl === undefined || isSeconds(ttl, retentionSeconds),
    `must be a whole number of seconds from 0 to ${retentionSeconds} (RETENTION_SECONDS)`,
  );
  check.that(
    'ack',
    ack === undefined || (isSeconds(ack, retentionSeconds) && ack !== 0),
    `must be a whole number of seconds from 1 to ${retentionSeconds} (RETENTION_SECONDS)`,
  );
  check.that(
    'wait',
    wait === undefined || isSeconds(wait, MAX_WAIT_SECONDS),
    `must be a whole number of seconds from 0 to ${MAX_WAIT_SECONDS}`,
  );
  check.that('wait', wait === undefined || ack !== undefined, 'needs ack: without it nobody acknowledges');
  // If it is missed, it comes back to the backend.
  const fault = ack === undefined ? undefined : unportable(value.data);
  check.that('data', fault === undefined, fault ?? '');
  check.that('collapse', collapse === undefined || isShortText(collapse), COLLAPSE_RULE);
  const at = check.moment(value, now);
  check.that('wait', wait === undefined || at === undefined, 'cannot be used with at or delay');
  check.names();
  if (check.faults.length === 0) check.that('', addresses.size > 0, NOBODY);
  if (check.faults.length > 0) throw invalidNotification(check.faults);
  return {
    addresses: [...addresses],
    event: String(event),
    hasData: 'data' in value,
    except: excepted,
    key: key === undefined ? undefined : String(key),
    ttl: ttl === undefined ? undefined : Number(ttl),
    ack: ack === undefined ? undefined : Number(ack),
    wait: wait === undefined ? undefined : Number(wait),
    collapse: collapse === undefined ? undefined : String(collapse),
    at,
  };
}

type FaultOf = (value: unknown) => string | undefined;

/** Collects the faults in the fields of one object, up to the most that are reported. */
class Check {
  readonly faults: Fault[] = [];
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #path: string;

  constructor(fields: Readonly<Record<string, unknown>>, path: string) {
    this.#fields = fields;
    this.#path = path;
  }

  that(name: string, isRight: boolean, message: string): void {
    if (!isRight) this.faults.push({ path: (this.#path + name).replace(/\.$/, ''), message });
  }

  name(field: string, faultOf: FaultOf, take: (name: string) => void): void {
    const value = this.#fields[field];
    if (value !== undefined) this.#name(field, value, faultOf, take);
  }

  list(field: string, what: string, faultOf: FaultOf, take: (name: string) => void): void {
    const list = this.#fields[field];
    if (list === undefined) return;
    if (!Array.isArray(list)) return this.that(field, false, `must be a list of ${what}`);
    if (list.length > MAX_LIST)
      return this.that(field, false, `has ${list.length} ${what}; the most is ${MAX_LIST}`);
    for (const [index, value] of list.entries()) {
      if (this.#isFull) return;
      this.#name(`${field}[${index}]`, value, faultOf, take);
    }
  }

  /** Reads `at` or `delay`: the moment in milliseconds since the epoch. A moment that is past is undefined: now. */
  moment({ at, delay }: Readonly<Record<string, unknown>>, now: number): number | undefined {
    if (at === undefined && delay === undefined) return undefined;
    this.that('at', at === undefined || delay === undefined, 'cannot be used with delay');
    if (delay !== undefined) {
      this.that('delay', isDelay(delay), DELAY_RULE);
      return isDelay(delay) && delay > 0 ? now + Math.round(delay * 1000) : undefined;
    }
    const moment = momentOf(at);
    this.that('at', moment !== undefined, AT_RULE);
    if (moment === undefined) return undefined;
    this.that('at', moment <= now + MAX_DELAY_SECONDS * 1000, TOO_LATE);
    return moment > now ? moment : undefined;
  }

  /** Finds fields that do not exist. */
  names(): void {
    for (const name in this.#fields) {
      if (this.#isFull) return;
      this.that(name, IS_NAME.has(name), IS_NAME.has(name) ? '' : unknownField(name));
    }
  }

  get #isFull(): boolean {
    return this.faults.length >= MAX_FAULTS;
  }

  #name(path: string, value: unknown, faultOf: FaultOf, take: (name: string) => void): void {
    const fault = faultOf(value);
    if (fault === undefined) take(String(value));
    else this.that(path, false, fault);
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function roomFault(value: unknown): string | undefined {
  if (typeof value !== 'string') return 'must be a string';
  if (isRoomName(value)) return undefined;
  return `must be a room name${value.includes('*') ? ', without *' : ''}: ${ROOM_RULE}`;
}

function userFault(value: unknown): string | undefined {
  return isShortText(value) || Number.isSafeInteger(value) ? undefined : USER_RULE;
}

function connectionFault(value: unknown): string | undefined {
  return typeof value === 'string' && isConnectionId(value) ? undefined : CONNECTION_RULE;
}

function isSeconds(value: unknown, most: number): boolean {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= most;
}

function isDelay(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= MAX_DELAY_SECONDS;
}

// RFC 3339 §5.6, with the zone that Date.parse would guess.
const MOMENT = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$/;

function momentOf(value: unknown): number | undefined {
  if (typeof value === 'number') return value >= 0 ? Math.round(value * 1000) : undefined;
  if (typeof value !== 'string' || !MOMENT.test(value)) return undefined;
  const milliseconds = Date.parse(value.replace(' ', 'T').toUpperCase());
  // JavaScript takes 30 February for 2 March.
  const day = Number(value.slice(8, 10));
  const isDay = new Date(`${value.slice(0, 10)}T00:00:00Z`).getUTCDate() === day;
  return Number.isNaN(milliseconds) || !isDay ? undefined : milliseconds;
}

function unknownField(name: string): string {
  const meant = NAMES.find(field => isNear(name.slice(0, 20).toLowerCase(), field));
  return meant === undefined
    ? `is not a field; the fields are ${NAMES.join(', ')}`
    : `is not a field; did you mean ${meant}?`;
}

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
];
const IS_NAME = new Set(NAMES);

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
 */
export function fieldsOf(value: unknown, path: string, retentionSeconds: number): Fields {
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
  const { everyone, event, except, key, ttl } = value;
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

function unknownField(name: string): string {
  const meant = NAMES.find(field => isNear(name.slice(0, 20).toLowerCase(), field));
  return meant === undefined
    ? `is not a field; the fields are ${NAMES.join(', ')}`
    : `is not a field; did you mean ${meant}?`;
}

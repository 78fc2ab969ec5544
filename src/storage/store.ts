import { nextTurn } from '../model/turns.js';

/**
 * A small map, ordered by its keys: by their bytes in UTF-8. A key has 1 to 1,000 bytes; a value is anything that JSON
 * can carry. Changes that do not wait for each other take effect in their order. A read finds what was durable before
 * it, or something newer.
 */
export interface Store<V> {
  /** Sets a value. Resolves when it is durable. If it rejects, the value may be durable or not. */
  put(key: string, value: V): Promise<void>;

  /** Removes a key. Resolves when that is durable, to whether the key was there. */
  remove(key: string): Promise<boolean>;

  get(key: string): Promise<V | undefined>;

  /** The entries from one key up to another, which is left out; in order, at most so many. The two may be any text. */
  range(from: string, to: string, limit: number): Promise<[key: string, value: V][]>;
}

/** The stores of one installation. */
export interface Stores {
  /** Opens the storage. Rejects with a StartError if it cannot be opened. */
  start(): Promise<void>;

  /** The store with this name: letters, digits and `-`. One object for each name. It works after the start. */
  open<V>(name: string): Store<V>;

  /** Lets one node of the installation do something. One object for each name. */
  lease(name: string): Lease;

  /** Finishes what was begun; from now on everything else rejects. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Lets one node of many do something. A node that dies loses it after some seconds. A node that was paused may believe
 * for a moment that it still holds it: so work under a lease must be safe to do twice.
 */
export interface Lease {
  readonly isHeld: boolean;
  /** Takes the lease, or prolongs it. Resolves to whether it is ours. Call it every second. May reject. */
  hold(): Promise<boolean>;
  /** Gives it up. May reject; then it runs out by itself. */
  release(): Promise<void>;
}

/** The lease of an installation with one node. */
export const ALWAYS_HELD: Lease = { isHeld: true, hold: async () => true, release: async () => undefined };

/** Behind every key that begins with a letter or a digit: the end of a range over all of them. */
export const END = '~';

/**
 * The entries from one key up to another, which is left out: in order, in pages of so many. Others get a turn of the
 * event loop after each page, because the disk answers in the same one. What is added meanwhile may be among them.
 */
export async function* pagesOf<V>(
  store: Pick<Store<V>, 'range'>,
  from: string,
  to: string,
  size: number,
): AsyncGenerator<[key: string, value: V][], void> {
  for (let start = from; ; ) {
    const page = await store.range(start, to, size);
    const last = page.at(-1);
    if (last === undefined) return;
    yield page;
    if (page.length < size) return;
    // The next key in the order of bytes.
    start = `${last[0]}\0`;
    await nextTurn();
  }
}

const MAX_KEY_BYTES = 1000;

/** The error of calls after `stop`. */
export function closed(): Error {
  return new Error('the stores are closed');
}

/** The bytes of a key. Throws for a key that no store takes. */
export function keyBytes(key: string): Buffer {
  if (!key.isWellFormed()) throw new Error('a key of a store has UTF-8; this one has half a character');
  const bytes = Buffer.from(key);
  if (bytes.length === 0 || bytes.length > MAX_KEY_BYTES)
    throw new Error(
      `a key of a store has 1 to ${MAX_KEY_BYTES} bytes of UTF-8, this one has ${bytes.length}`,
    );
  return bytes;
}

/** The bytes of a range's bound, which may be any text. More bytes than a key has would change nothing. */
export function boundBytes(bound: string): Buffer {
  return Buffer.from(bound).subarray(0, MAX_KEY_BYTES + 1);
}

/** The JSON of a value. Throws if JSON cannot carry it. */
export function valueJson(value: unknown): string {
  let json: string | undefined;
  let cause: unknown;
  try {
    json = JSON.stringify(value);
  } catch (error) {
    cause = error;
  }
  if (json === undefined)
    throw new Error('a value of a store is what JSON can carry, and this one is not', { cause });
  return json;
}

import { ALWAYS_HELD, closed, keyBytes, type Lease, type Store, type Stores, valueJson } from './store.js';

/** Stores that live as long as the process. */
export class MemoryStores implements Stores {
  readonly #stores = new Map<string, MemoryStore<unknown>>();
  readonly #requireOpen = () => {
    if (this.#isStopped) throw closed();
  };
  #isStopped = false;

  async start(): Promise<void> {}

  open<V>(name: string): Store<V> {
    this.#requireOpen();
    const store = this.#stores.get(name) ?? new MemoryStore(this.#requireOpen);
    this.#stores.set(name, store);
    return store as Store<V>;
  }

  lease(_name: string): Lease {
    return ALWAYS_HELD;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
  }
}

/** Values are kept as JSON, so that nobody changes a stored value by accident. */
class MemoryStore<V> implements Store<V> {
  readonly #entries: { readonly key: Buffer; json: string }[] = [];
  readonly #requireOpen: () => void;

  constructor(requireOpen: () => void) {
    this.#requireOpen = requireOpen;
  }

  async put(key: string, value: V): Promise<void> {
    this.#requireOpen();
    const bytes = keyBytes(key);
    const json = valueJson(value);
    const index = this.#search(bytes);
    const found = this.#at(index, bytes);
    if (found === undefined) this.#entries.splice(index, 0, { key: bytes, json });
    else found.json = json;
  }

  async remove(key: string): Promise<boolean> {
    this.#requireOpen();
    const bytes = keyBytes(key);
    const index = this.#search(bytes);
    if (this.#at(index, bytes) === undefined) return false;
    this.#entries.splice(index, 1);
    return true;
  }

  async get(key: string): Promise<V | undefined> {
    this.#requireOpen();
    const bytes = keyBytes(key);
    const found = this.#at(this.#search(bytes), bytes);
    return found && JSON.parse(found.json);
  }

  async range(from: string, to: string, limit: number): Promise<[string, V][]> {
    this.#requireOpen();
    const start = this.#search(Buffer.from(from));
    const end = Math.min(this.#search(Buffer.from(to)), start + limit);
    return this.#entries.slice(start, end).map(({ key, json }) => [key.toString(), JSON.parse(json)]);
  }

  #at(index: number, key: Buffer) {
    const found = this.#entries[index];
    return found?.key.equals(key) ? found : undefined;
  }

  /** The index of the first key that is not before this one. */
  #search(key: Buffer): number {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (Buffer.compare(this.#entries[middle]?.key ?? key, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** A queue whose items keep their position for life. The first item ever pushed has position 0, the next gets `end`. */
export class Fifo<T> {
  #items: (T | undefined)[] = [];
  #head = 0;
  #first = 0;

  /** Position of the oldest item still here. */
  get first(): number {
    return this.#first;
  }

  /** Position that the next item will get. */
  get end(): number {
    return this.#first + this.#items.length - this.#head;
  }

  get size(): number {
    return this.#items.length - this.#head;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  /** The item at a position; undefined if it is gone or not there yet. */
  at(position: number): T | undefined {
    return position < this.#first ? undefined : this.#items[position - this.#first + this.#head];
  }

  /** Removes and returns the oldest item. Constant time on average, no matter how many stay. */
  shift(): T | undefined {
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    this.#first++;
    if (this.#head >= 32 && this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** A new queue with the same items, or with those that `isKept` accepts. Its positions begin at 0. */
  copy(isKept: (item: T) => boolean = () => true): Fifo<T> {
    const copy = new Fifo<T>();
    copy.#items = this.#items.slice(this.#head).filter(item => isKept(item as T));
    return copy;
  }

  /** The first position for whose item `isBefore` is false; `end` if there is none. Items must be in order. */
  search(isBefore: (item: T) => boolean): number {
    let low = this.#head;
    let high = this.#items.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (isBefore(this.#items[middle] as T)) low = middle + 1;
      else high = middle;
    }
    return low - this.#head + this.#first;
  }
}

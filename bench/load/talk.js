/** Clients publish to the others in their rooms. */
import { setTimeout as sleep } from 'node:timers/promises';
import { openClient } from './client.js';
import { DIALECTS, Kind, numberIn } from './dialects.js';

const TICK_MS = 1;
const LOOK_MS = 5;
const TOGETHER = 32;

export class Talk {
  /** From when it was due to one other member, in ms. */
  latencies = [];
  /** Messages that all others have heard, and that were answered if they are. */
  complete = 0;
  #dialect;
  #members = [];
  #others;
  #window = 0;
  #posted = 0;
  #heardByAll = 0;
  #answered = 0;
  #flight = new Map(); // what was sent and not heard by all, by number

  /** @param rooms `{ room, tokens }` of each: a member for each token */
  static async open({ port, dialect, rooms }) {
    const talk = new Talk(dialect, rooms[0].tokens.length);
    // One of each room in turn, so that messages that follow each other are for different rooms.
    const all = rooms[0].tokens.flatMap((_, n) =>
      rooms.map(({ room, tokens }) => ({ room, token: tokens[n] })),
    );
    const took = (...frame) => talk.#took(...frame);
    const { path } = talk.#dialect;
    async function openInTurn() {
      for (let next = all.shift(); next; next = all.shift()) {
        const client = await openClient({ port, path: path(next), took });
        talk.#members.push({ client, room: next.room });
      }
    }
    await Promise.all(Array.from({ length: TOGETHER }, openInTurn));
    return talk;
  }

  constructor(dialect, members) {
    this.#dialect = DIALECTS[dialect];
    this.#others = members - 1;
  }

  /** Publishes without pause; at most `window` messages are not complete. */
  flood(window) {
    this.#window = window;
    this.#postMore();
  }

  /** Publishes so many a second for so long, whatever the server does. */
  async stream(rate, seconds) {
    const started = performance.now();
    for (let due = 0; due < rate * seconds; ) {
      await sleep(TICK_MS);
      const now = performance.now();
      for (; due < Math.min(rate * seconds, ((now - started) / 1000) * rate); due++) this.#post(now);
    }
  }

  /** Resolves when all have heard everything. */
  async quiet() {
    this.#window = 0;
    while (this.#flight.size > 0 || this.#unanswered > 0) await sleep(LOOK_MS);
  }

  close() {
    for (const { client } of this.#members) client.close();
  }

  get #unanswered() {
    return this.#dialect.unanswered ? 0 : this.#posted - this.#answered;
  }

  #postMore() {
    while (this.#flight.size < this.#window && this.#unanswered < this.#window) this.#post(performance.now());
  }

  #post(due) {
    const { client, room } = this.#members[this.#posted % this.#members.length];
    const number = this.#posted++;
    this.#flight.set(number, { due, left: this.#others });
    client.send(this.#dialect.publish(room, number));
  }

  #took(client, bytes, start, end) {
    const kind = this.#dialect.kindOf(client, bytes, start, end);
    if (kind === Kind.heard) this.#heard(numberIn(bytes, end, this.#dialect.tail));
    else if (kind === Kind.answered) this.#answered++;
    else return kind === Kind.served;
    this.complete = this.#dialect.unanswered ? this.#heardByAll : Math.min(this.#heardByAll, this.#answered);
    this.#postMore();
    return false;
  }

  #heard(number) {
    const message = this.#flight.get(number);
    if (message === undefined) throw new Error(`message ${number} came too often`);
    this.latencies.push(performance.now() - message.due);
    if (--message.left > 0) return;
    this.#flight.delete(number);
    this.#heardByAll++;
  }
}

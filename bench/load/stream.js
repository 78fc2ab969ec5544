/**
 * Publishes at a steady rate to all listeners, whatever the server does. Times count from when a post was due, even if
 * it had to wait for a connection: so the latencies show a server that falls behind.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { openPublisher } from './publisher.js';

const TICK_MS = 1;
const LOOK_MS = 5;

export class Stream {
  /** From when it was due to one listener, in ms, for every notification and every listener that reads. */
  latencies = [];
  /** Resolves when, after `stop()`, those that read have heard everything. */
  drained;
  #drain;
  #listeners;
  #rate;
  #started = performance.now();
  #dueAt = []; // ms, by number of the notification
  #posted = 0;
  #unanswered = 0;
  #idle;
  #timer = setInterval(() => this.#tick(), TICK_MS);

  constructor({ to, request, listeners, connections, rate }) {
    this.#listeners = listeners;
    this.#rate = rate;
    this.drained = new Promise(resolve => {
      this.#drain = resolve;
    });
    const answered = publisher => this.#answered(publisher);
    this.#idle = Array.from({ length: connections }, () => openPublisher({ to, request, answered }));
    for (const listener of listeners) listener.received = 0;
  }

  heard(listener, count) {
    const now = performance.now();
    for (let end = listener.received + count; listener.received < end; listener.received++) {
      if (listener.received >= this.#posted) throw new Error('a notification came twice');
      if (!listener.stalled) this.latencies.push(now - this.#dueAt[listener.received]);
    }
  }

  async stop() {
    clearInterval(this.#timer);
    while (this.#unanswered > 0 || this.#posted < this.#dueAt.length) await sleep(LOOK_MS);
    for (const publisher of this.#idle) publisher.close();
    await this.heardBy(this.#listeners.filter(({ stalled }) => !stalled));
    this.#drain();
  }

  /** Resolves when these listeners have heard everything. */
  async heardBy(listeners) {
    while (listeners.some(({ received }) => received < this.#posted)) await sleep(LOOK_MS);
  }

  #tick() {
    const now = performance.now();
    const due = Math.floor(((now - this.#started) / 1000) * this.#rate);
    while (this.#dueAt.length < due) this.#dueAt.push(now);
    this.#post();
  }

  #answered(publisher) {
    this.#unanswered--;
    this.#idle.push(publisher);
    this.#post();
  }

  #post() {
    while (this.#idle.length > 0 && this.#posted < this.#dueAt.length) {
      this.#posted++;
      this.#unanswered++;
      this.#idle.shift().post(); // in turn: the server closes a connection without a request after ten seconds
    }
  }
}

/**
 * Publishes to all listeners without pause over so many keep-alive connections, to `targets` in turn. Each posts again
 * when it is answered, if at most `window` notifications are still on their way to the slowest listener.
 */
import { Progress } from './progress.js';
import { openPublisher } from './publisher.js';

export class Fanout {
  #drain;
  delivered = 0;
  /** From the publish to its last listener, in ms, for every notification that all have heard. */
  latencies = [];
  /** From the publish to its answer, in ms. */
  answers = [];
  /** Resolves when, after `stop()`, every post has been answered and heard. */
  drained = new Promise(resolve => {
    this.#drain = resolve;
  });

  #window;
  #progress;
  #postedAt; // ms, by number of the notification modulo the window
  #idle;
  #unanswered = 0;
  #posted = 0;
  #stopped = false;

  constructor({ targets, request, listeners, connections, window }) {
    this.#window = window;
    this.#progress = new Progress(listeners.length, window);
    this.#postedAt = new Float64Array(window);
    const answered = publisher => this.#answered(publisher);
    this.#idle = Array.from({ length: connections }, (_, n) =>
      openPublisher({ to: targets[n % targets.length], request, answered }),
    );
    for (const listener of listeners) listener.received = 0;
    this.#postMore();
  }

  heard(listener, count) {
    const from = listener.received;
    listener.received += count;
    this.delivered += count;
    if (listener.received > this.#posted) throw new Error('a notification came twice');
    let complete = this.#progress.slowest;
    if (!this.#progress.step(from, listener.received)) return;
    for (const now = performance.now(); complete < this.#progress.slowest; complete++) {
      this.latencies.push(now - this.#postedAt[complete % this.#window]);
    }
    this.#postMore();
  }

  stop() {
    this.#stopped = true;
    this.#closeIdle();
  }

  #answered(publisher) {
    this.#unanswered--;
    this.answers.push(performance.now() - publisher.postedAt);
    this.#idle.push(publisher);
    this.#postMore();
  }

  #postMore() {
    if (this.#stopped) return this.#closeIdle();
    while (this.#idle.length > 0 && this.#posted - this.#progress.slowest < this.#window) {
      const publisher = this.#idle.pop();
      publisher.postedAt = performance.now();
      this.#postedAt[this.#posted++ % this.#window] = publisher.postedAt;
      this.#unanswered++;
      publisher.post();
    }
  }

  #closeIdle() {
    while (this.#idle.length > 0) this.#idle.pop().close();
    if (this.#unanswered === 0 && this.#progress.slowest === this.#posted) this.#drain();
  }
}

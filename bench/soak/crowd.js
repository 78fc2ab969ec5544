/** All listeners: some stay, some stop reading at times, some come and go. */
import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Listener } from './listener.js';
import { ROOMS, roomName, userName } from './plan.js';

const STEADY = 10;
const STALLING = 8;
const VISITING = 12;
const STALL_SECONDS = [4, 12]; // the kernel takes some MB before the server notices
const READ_SECONDS = [3, 10];
const STAY_SECONDS = [0.2, 6];
const AWAY_SECONDS = [0, 5];
const LONG_AWAY_SECONDS = 75; // longer than the retention: the past may be gone
const LONG_AWAY_SHARE = 0.03;
const NEW_SHARE = 0.2;

export class Crowd {
  #steady;
  #stalling;
  #visiting;
  #calm = new AbortController();

  /** @param publishers how many will publish, from their first number on, after `everybodyIsIn` */
  constructor({ port, wrongs, publishers }) {
    setMaxListeners(0, this.#calm.signal);
    const some = (length, kind, roomsOf) =>
      Array.from({ length }, (_, number) => {
        const user = number % 2 === 0 ? userName(number / 2) : undefined;
        const name = `${kind} ${number}`;
        return new Listener({ name, port, wrongs, publishers, rooms: roomsOf(number), user });
      });
    const oneOrTwo = number => [...new Set([roomName(number), roomName(number + (number % 3))])];
    this.#steady = some(STEADY, 'steady', oneOrTwo);
    this.#stalling = some(STALLING, 'stalling', () =>
      Array.from({ length: ROOMS }, (_, room) => roomName(room)),
    );
    this.#visiting = some(VISITING, 'visitor', oneOrTwo);
  }

  get delivered() {
    return this.#all.reduce((sum, { delivered }) => sum + delivered, 0);
  }

  get connections() {
    return this.#all.reduce((sum, { connections }) => sum + connections, 0);
  }

  get pastGone() {
    return this.#all.reduce((sum, { pastGone }) => sum + pastGone, 0);
  }

  /** Lets them stall, come and go until `calm()`. */
  stir() {
    for (const listener of this.#stalling) void this.#stall(listener);
    for (const listener of this.#visiting) void this.#visit(listener);
  }

  /** From now on, everybody stays and reads. */
  calm() {
    this.#calm.abort();
  }

  async everybodyIsIn() {
    await Promise.all(this.#all.map(listener => listener.isIn()));
  }

  async everybodyHas(numbers) {
    await Promise.all(this.#all.map(listener => listener.has(numbers)));
  }

  noteWhatIsMissing(numbers) {
    for (const listener of this.#all) listener.noteMissing(numbers);
  }

  /** Resolves when all connections are closed. */
  async leave() {
    for (const [index, listener] of this.#all.entries()) listener.leave(index % 2 === 0);
    while (this.#all.some(({ isGone }) => !isGone)) await sleep(10);
  }

  async #stall(listener) {
    while (await this.#wait(READ_SECONDS)) {
      listener.pause();
      await this.#wait(STALL_SECONDS);
      listener.resume();
    }
  }

  async #visit(listener) {
    while (await this.#wait(STAY_SECONDS)) {
      const mayMiss = Math.random() < LONG_AWAY_SHARE;
      listener.leave(Math.random() < 0.5);
      await this.#wait(mayMiss ? [LONG_AWAY_SECONDS, LONG_AWAY_SECONDS] : AWAY_SECONDS);
      if (Math.random() < NEW_SHARE) listener.forget();
      listener.comeBack({ mayMiss });
    }
  }

  /** Whether it was calm until the end of the wait. */
  async #wait([least, most]) {
    const milliseconds = (least + Math.random() * (most - least)) * 1000;
    const { signal } = this.#calm;
    await sleep(milliseconds, undefined, { signal }).catch(() => undefined);
    return !signal.aborted;
  }

  get #all() {
    return [...this.#steady, ...this.#stalling, ...this.#visiting];
  }
}

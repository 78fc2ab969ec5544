/**
 * A client as a page would write it: it keeps the last id that it saw and comes back with it. It knows what it must
 * hear (plan.js), and notes what comes too late, twice or not at all.
 */
import { createSecretKey } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { WebSocket } from 'ws';
import { nextThatReaches, reaches } from './plan.js';
import { JWT_SECRET } from './server.js';

const COME_BACK_MS = [20, 200];
const FELL_BEHIND = 4408;
const secret = createSecretKey(JWT_SECRET, 'utf8');

export class Listener {
  delivered = 0;
  /** How often it was let in. */
  connections = 0;
  /** How often the server said, after an absence that allows it, that the past is gone. */
  pastGone = 0;
  /** Its rooms and its user. */
  rooms;
  user;
  #name;
  #port;
  #wrongs;
  #last; // the last id it saw
  #heardId = [0, 0];
  #expected; // by publisher: the number that must come next; undefined if any may be the first
  #socket;
  #isIn = false;
  #present = true;
  #timer;
  #wake = () => {};
  #mayMiss = false;

  /** @param publishers how many will publish, from their first number on, after this listener is in */
  constructor({ name, port, wrongs, rooms, user, publishers }) {
    this.#name = name;
    this.#port = port;
    this.#wrongs = wrongs;
    this.rooms = rooms;
    this.user = user;
    this.#expected = Array(publishers).fill(nextThatReaches(this, 0));
    this.#open();
  }

  /** Stops reading. What comes waits in the kernel, then in the server. */
  pause() {
    if (this.#isIn) this.#socket.pause();
  }

  resume() {
    this.#socket.resume();
  }

  /** Leaves, with a closing handshake or without. */
  leave(politely) {
    this.#present = false;
    clearTimeout(this.#timer);
    this.resume();
    if (politely) this.#socket.close();
    else this.#socket.terminate();
  }

  /**
   * Comes back after `leave`.
   * @param mayMiss whether it was away for so long that the past may be gone
   */
  comeBack({ mayMiss = false } = {}) {
    this.#present = true;
    this.#mayMiss ||= mayMiss;
    if (this.#socket.readyState === WebSocket.CLOSED) this.#open();
  }

  /** Comes as a new client: without `since`, and without a claim to earlier notifications. */
  forget() {
    this.#last = undefined;
    this.#expected = [];
  }

  get isGone() {
    return this.#socket.readyState === WebSocket.CLOSED;
  }

  async isIn() {
    await this.#until(() => this.#isIn);
  }

  /** Resolves when it has heard everything up to these numbers, by publisher. */
  async has(numbers) {
    await this.#until(() => this.missing(numbers) === 0);
  }

  /** For how many publishers something is missing, up to these numbers, which all reach everyone. */
  missing(numbers) {
    return numbers.filter((number, publisher) => !(this.#expected[publisher] > number)).length;
  }

  noteMissing(numbers) {
    for (const [publisher, number] of numbers.entries()) {
      const due = this.#expected[publisher] ?? number;
      if (due <= number) this.#note('lost', `${publisher}:${due} to ${number} never came`, number - due + 1);
    }
  }

  async #until(condition) {
    while (!condition())
      await new Promise(resolve => {
        this.#wake = resolve;
      });
  }

  #open() {
    const query = new URLSearchParams(this.rooms.map(room => ['room', room]));
    if (this.user !== undefined)
      query.set('token', jwt.sign({ sub: this.user }, secret, { expiresIn: '1h' }));
    if (this.#last !== undefined) query.set('since', this.#last);
    const socket = new WebSocket(`ws://127.0.0.1:${this.#port}/ws?${query}`);
    this.#socket = socket;
    socket.on('message', data => this.#take(JSON.parse(String(data))));
    socket.on('error', () => undefined); // a close follows
    socket.on('close', (code, reason) => this.#closed(code, reason));
  }

  #closed(code, reason) {
    this.#isIn = false;
    if (code === FELL_BEHIND) this.#note('past gone', `was closed with ${code} ${reason}`);
    else if (code === 1011 || code === 1008 || code >= 4500) this.#note('closed', `${code} ${reason}`);
    const [least, most] = COME_BACK_MS;
    const open = () => this.#open();
    if (this.#present) this.#timer = setTimeout(open, least + Math.random() * (most - least));
    this.#wake();
  }

  #take(frame) {
    if (frame.type === 'welcome') this.#welcome(frame);
    if (frame.type === 'error') this.#note('error frame', JSON.stringify(frame));
    if (frame.id !== undefined) this.#last = frame.id;
    if (frame.type === 'notification') this.#hear(frame);
    this.#wake();
  }

  #welcome({ recovered }) {
    this.connections++;
    this.#isIn = true;
    if (recovered === false) {
      if (this.#mayMiss) this.pastGone++;
      else this.#note('past gone', `was told so after ${this.#last}, though it was not away for long`);
      this.#expected = [];
    }
    this.#mayMiss = false;
  }

  #hear({ id, data: { publisher, number } }) {
    this.delivered++;
    const heardId = id.split('-').map(Number);
    const [time, sequence] = this.#heardId;
    if (heardId[0] < time || (heardId[0] === time && heardId[1] < sequence))
      this.#note('out of order', `${id} came after ${this.#heardId.join('-')}`);
    this.#heardId = heardId;

    if (!reaches(number, this)) return this.#note('misdirected', `${publisher}:${number} is for others`);
    const due = this.#expected[publisher];
    if (number < due) return this.#note('doubled', `${publisher}:${number} came again, as ${id}`);
    if (number > due)
      this.#note('lost', `${publisher}:${due} to ${number - 1}; ${number} came, as ${id}`, number - due);
    this.#expected[publisher] = nextThatReaches(this, number + 1);
  }

  #note(kind, words, times) {
    this.#wrongs.note(kind, `${this.#name}: ${words}`, times);
  }
}

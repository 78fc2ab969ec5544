import { addressWith, parseAddress } from './address.js';
import { call, FAILED } from './handlers.js';
import { RoomMembers } from './members.js';
import { checkOptions } from './options.js';
import { Recent } from './recent.js';
import { Tokens } from './tokens.js';
import type {
  Clock,
  Fault,
  Handler,
  Member,
  Notification,
  Options,
  Postroom,
  Published,
  PublishOptions,
  SocketConstructor,
  SocketLike,
  State,
  WindowLike,
} from './types.js';

const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 30_000;
// A connection that lived for less is no success: what ends at once would be tried again at once, for ever.
const STABLE_MS = 10_000;
// For the token, the handshake and the welcome together.
const CONNECT_MS = 20_000;
const ANSWER_MS = 10_000;
// The server may not have got what was sent just before a connection was lost.
const ACKNOWLEDGED_MS = 60_000;
const TOKEN_EXPIRED = 4401;
const STAY_AWAY = 4500;
/** What we sent was refused, and we would send it again. */
const OUR_FAULT = [1003, 1008, 1009];
const TAKEN_OUT = 'A new token forbids it, or the backend took this connection out of it.';
const WAKING = ['online', 'visibilitychange'];

type ServerFrame = (
  | { type: 'welcome'; id: string; connection: string; ping: number; recovered?: boolean }
  | { type: 'subscribed'; id: string; room: string; members?: Member[] }
  | { type: 'unsubscribed'; id?: undefined; room: string }
  | { type: 'members'; id?: undefined; room: string; members?: Member[]; count?: number }
  | ({ type: 'joined' | 'changed'; id?: undefined; room: string } & Member)
  | { type: 'left'; id?: undefined; room: string; user: string }
  | { type: 'token'; id?: undefined; expires: number }
  | { type: 'pong'; id?: undefined }
  | { type: 'error'; id?: undefined; code: string; message: string; room?: string }
  | { type: 'published'; id: string }
  | { type: 'result'; id?: undefined; data: unknown }
  | Notification
) & { ref?: string | number };

/** What a publish and a call end with where no answer came: as if the server had said so. */
const CLOSED: ServerFrame = {
  type: 'error',
  code: 'closed',
  message: 'There was no connection, or it was lost before the answer came.',
};

/**
 * One connection after the other. What is under way (a token being fetched, a socket, a timer) belongs to an
 * attempt; once the next number has begun, what still comes of it is ignored.
 */
export class Client implements Postroom {
  state: State = 'connecting';
  connection: string | undefined;
  cursor: string | undefined;
  onstate: ((state: State) => void) | undefined;
  onlost: (() => void) | undefined;
  onerror: ((fault: Fault) => void) | undefined = fault => console.error('postroom:', fault);

  readonly #url: URL;
  readonly #rooms: Set<string>;
  readonly #WebSocket: SocketConstructor;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #window: Partial<WindowLike>;
  readonly #tokens: Tokens;
  readonly #handlers = new Set<{ event: string; handler: Handler }>();
  readonly #recent = new Recent();
  readonly #acknowledged = new Recent();
  readonly #acknowledges: boolean;
  readonly #members = new Map<string, RoomMembers>();
  /** Who waits for the answer to a publish or a call. Their refs are numbers, all others of the client are words. */
  readonly #asking = new Map<unknown, (answer: ServerFrame) => void>();
  #lastRef = 0;

  #attempt = 0;
  #socket: SocketLike | undefined;
  /** Rooms in the address that was opened; where they were too many, it is not all of them. */
  #joining = new Set<string>();
  #tooMany = false;
  /** Until the welcome, the next frame, the answer to a ping, or the next attempt: one at a time. */
  #timer: unknown;
  #pingMs = CONNECT_MS;
  #pinged = false;
  #openedAt: number | undefined;
  #failures = 0;

  constructor(url: string, options: Options) {
    checkOptions(options);
    const environment: Environment = globalThis;
    const { rooms, since, ...address } = parseAddress(url, environment.location?.href);
    const Socket = options.WebSocket ?? environment.WebSocket;
    if (!Socket) throw new TypeError('There is no WebSocket here: give one as options.WebSocket.');
    this.#WebSocket = Socket;
    this.#url = address.url;
    this.#rooms = new Set([...rooms, ...(options.rooms ?? [])]);
    this.cursor = options.since ?? since;
    this.#acknowledges = options.acknowledge ?? true;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#tokens = new Tokens(options.token ?? (() => undefined), this.#clock, this.#random);
    this.#window = options.window ?? environment;
    for (const event of WAKING) this.#window.addEventListener?.(event, this.#wake);
    void this.#open();
  }

  on<Data>(event: string, handler: Handler<Data>): () => void {
    // What the data of an event is, is between the application and its backend.
    const entry = { event, handler: handler as Handler };
    this.#handlers.add(entry);
    return () => {
      this.#handlers.delete(entry);
    };
  }

  subscribe(room: string): void {
    this.#rooms.add(room);
    this.#send({ type: 'subscribe', room });
  }

  unsubscribe(room: string): void {
    this.#rooms.delete(room);
    this.#send({ type: 'unsubscribe', room, ref: 'left' });
    this.#members.get(room)?.take();
  }

  members<Info = unknown>(room: string): RoomMembers<Info> {
    const members = this.#members.get(room) ?? new RoomMembers();
    this.#members.set(room, members);
    // What the info of a member is, is between the application and its backend too.
    return members as RoomMembers<Info>;
  }

  async publish(
    room: string,
    event: string,
    data?: unknown,
    { ttl }: PublishOptions = {},
  ): Promise<Published> {
    const { id } = await this.#ask<Published>({ type: 'publish', room, event, data, ttl });
    // It goes to the others. A replay for the next connection, which is another one, would bring it here too.
    this.#recent.add(id);
    return { id };
  }

  async call<Result>(event: string, data?: unknown): Promise<Result> {
    return (await this.#ask<{ data: Result }>({ type: 'call', event, data })).data;
  }

  acknowledge(id: string): void {
    if (this.#acknowledged.add(id, this.#clock.now())) this.#send({ type: 'ack', id });
  }

  close(): void {
    this.#drop();
    for (const event of WAKING) this.#window.removeEventListener?.(event, this.#wake);
    this.#enter('closed');
  }

  async #open(): Promise<void> {
    this.#drop();
    const attempt = this.#attempt;
    this.#wait(CONNECT_MS, () => this.#comeBack());
    this.#enter('connecting');
    let code = 'token';
    try {
      const token = await this.#tokens.get();
      if (attempt !== this.#attempt) return;
      code = 'socket';
      this.#socket = this.#connect(token);
    } catch (cause) {
      if (attempt !== this.#attempt) return;
      this.#comeBack();
      this.onerror?.({ code, message: String(cause), cause });
    }
  }

  #connect(token: string | null | undefined): SocketLike {
    const attempt = this.#attempt;
    const { address, joining } = addressWith(this.#url, this.#rooms, this.cursor);
    this.#joining = joining;
    this.#tooMany = joining.size < this.#rooms.size;
    const socket = new this.#WebSocket(address, ['postroom.v1', ...(token ? [`bearer.${token}`] : [])]);
    socket.onmessage = ({ data }: { data: string }) => {
      if (attempt === this.#attempt) this.#receive(JSON.parse(data));
    };
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => {
      if (attempt === this.#attempt) this.#closed(code, reason);
    };
    // The close that follows says all. The package ws throws where nobody listens.
    socket.onerror = () => {};
    return socket;
  }

  /** Lets go of what is under way. */
  #drop(): void {
    this.#attempt++;
    this.#clock.clearTimeout(this.#timer);
    this.#tokens.rest();
    this.#socket?.close();
    this.#socket = undefined;
    this.connection = undefined;
    for (const end of this.#asking.values()) end(CLOSED);
    this.#asking.clear();
  }

  /** Full jitter: after any time up to a bound, which doubles with each failure in a row. */
  #comeBack(slowly = false): void {
    this.#drop();
    if (this.#openedAt !== undefined && this.#clock.now() - this.#openedAt >= STABLE_MS) this.#failures = 0;
    this.#openedAt = undefined;
    const bound = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#failures++);
    const delay = slowly ? LONGEST_DELAY_MS * (1 + this.#random()) : bound * this.#random();
    this.#wait(delay, () => this.#open());
    this.#enter('waiting');
  }

  #closed(code: number, message: string): void {
    if (code === TOKEN_EXPIRED) this.#tokens.expired();
    const slowly = OUR_FAULT.includes(code);
    if (code >= STAY_AWAY) this.close();
    else this.#comeBack(slowly);
    if (code >= STAY_AWAY || slowly) this.onerror?.({ code, message });
  }

  #receive(frame: ServerFrame): void {
    if (frame.type === 'welcome') this.#pingMs = frame.ping * 1000;
    this.#pinged = false;
    this.#wait(this.#pingMs, this.#check);
    const answer = this.#asking.get(frame.ref);
    if (answer) {
      // The id of what was published is no cursor: notifications before it may still be on their way.
      this.#asking.delete(frame.ref);
      return answer(frame);
    }
    if (frame.type === 'notification' && !this.#recent.add(frame.id)) return;
    if (frame.id) this.cursor = frame.id;
    switch (frame.type) {
      case 'welcome':
        return this.#welcome(frame.connection, frame.recovered);
      case 'notification':
        return this.#deliver(frame);
      case 'token':
        this.#tokens.expires(frame.expires);
        return this.#watchToken();
      case 'pong':
        if (frame.ref === 'joined') this.onlost?.();
        return;
      case 'subscribed':
        // Without a list it is no presence room, or there are too many, and their count follows.
        if (frame.members) this.members(frame.room).take(frame.members);
        return;
      case 'members':
        return this.members(frame.room).take(frame.members, frame.count);
      case 'joined':
      case 'changed':
        return this.members(frame.room).put(frame);
      case 'left':
        return this.members(frame.room).remove(frame.user);
      case 'unsubscribed':
        this.#members.get(frame.room)?.take();
        if (frame.ref === undefined)
          this.onerror?.({ code: 'forbidden', message: TAKEN_OUT, room: frame.room });
        return;
      case 'error':
        // A room that is refused now may have been joined on the connection before.
        if (frame.room && frame.ref === undefined) this.#members.get(frame.room)?.take();
        // The new token is another user's: so has the connection to be.
        if (frame.ref === 'token' && frame.code === 'forbidden') this.#comeBack();
        this.onerror?.(frame);
    }
  }

  #welcome(connection: string, recovered: boolean | undefined): void {
    this.connection = connection;
    this.#openedAt = this.#clock.now();
    this.#watchToken();
    // What did not fit the address, and what changed since it was opened.
    for (const room of this.#rooms) if (!this.#joining.has(room)) this.subscribe(room);
    for (const room of this.#joining) if (!this.#rooms.has(room)) this.unsubscribe(room);
    // Rooms that did not fit it have no past. Once they are joined, a state that is loaded misses nothing.
    // After the rooms: the server counts them only from those whom the notification was for.
    for (const id of this.#acknowledged.since(this.#clock.now() - ACKNOWLEDGED_MS))
      this.#send({ type: 'ack', id });
    const pastless = this.#tooMany && recovered !== undefined;
    if (pastless) this.#send({ type: 'ping', ref: 'joined' });
    this.#enter('open');
    // The backend had put the last connection into these rooms, not this one.
    for (const [room, members] of this.#members) if (!this.#rooms.has(room)) members.take();
    if (recovered === false && !pastless) this.onlost?.();
  }

  #deliver(frame: Notification): void {
    const results: unknown[] = [];
    for (const { event, handler } of [...this.#handlers])
      if (event === frame.event || event === '*') results.push(call(handler, frame.data, frame));
    if (frame.ack && this.#acknowledges && results.length > 0 && !results.includes(FAILED))
      // If a promise of the application rejects, so does this one, and is reported as usual.
      void Promise.all(results).then(() => this.acknowledge(frame.id));
  }

  #watchToken(): void {
    this.#tokens.watch(
      token => this.#send({ type: 'token', token, ref: 'token' }),
      cause => this.onerror?.({ code: 'token', message: String(cause), cause }),
    );
  }

  /** Asks for a sign of life; without one the link is dead, whatever the browser believes. */
  readonly #check = (): void => {
    if (this.#pinged) return;
    this.#pinged = true;
    this.#send({ type: 'ping' });
    this.#wait(Math.min(this.#pingMs, ANSWER_MS), () => this.#comeBack());
  };

  /** After sleep, and with a network again, nothing of what was believed is sure. */
  readonly #wake = (): void => {
    if (this.#window.document?.hidden) return;
    if (this.state === 'waiting') void this.#open();
    else if (this.state === 'open') this.#check();
  };

  #wait(milliseconds: number, run: () => void): void {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = this.#clock.setTimeout(run, milliseconds);
  }

  /** Sends a frame and waits for its answer, which the type of the frame tells. Sent once: it may have been done. */
  async #ask<Answer>(frame: object): Promise<Answer> {
    const ref = ++this.#lastRef;
    const answer = this.connection
      ? await new Promise<ServerFrame>(resolve => {
          this.#send({ ...frame, ref });
          this.#asking.set(ref, resolve);
        })
      : CLOSED;
    if (answer.type === 'error') throw Object.assign(new Error(answer.message), { code: answer.code });
    return answer as Answer;
  }

  /** Before the welcome there is no need: the address, and what is sent at the welcome, says it. */
  #send(frame: object): void {
    if (this.connection) this.#socket?.send(JSON.stringify(frame));
  }

  #enter(state: State): void {
    if (state === this.state) return;
    this.state = state;
    this.onstate?.(state);
  }
}

/** What browsers and Node have, and what some of them lack. */
interface Environment extends Partial<WindowLike> {
  readonly location?: { readonly href: string };
  readonly WebSocket?: SocketConstructor;
}

const systemClock: Clock = {
  now: () => Date.now(),
  setTimeout: (run, milliseconds) => setTimeout(run, milliseconds),
  clearTimeout: timer => clearTimeout(timer as number),
};

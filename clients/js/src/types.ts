/**
 * Where the client stands: `connecting`; `open` (rooms are joined, notifications come); `waiting` for the next
 * attempt after a lost connection; `closed` for good, by `close()` or because the server said to stay away.
 */
export type State = 'connecting' | 'open' | 'waiting' | 'closed';

/** What a backend posted, or another browser published, as it came. */
export interface Notification<Data = unknown> {
  readonly type: 'notification';
  /** Names it; opaque. */
  readonly id: string;
  /** Only if it came through a room. */
  readonly room?: string;
  readonly event: string;
  readonly data: Data;
  /** Only if a browser published it. The server says who it was; `event` and `data` are the browser's own words. */
  readonly from?: { readonly connection: string; readonly user: string | null };
  /** Only if the backend wants to know whether it was acknowledged. */
  readonly ack?: true;
}

export interface PublishOptions {
  /** For how many seconds it also comes to those who connect again. 0, if you do not say. */
  readonly ttl?: number | undefined;
}

export interface Published {
  /** The id of the notification. */
  readonly id: string;
}

/** What `publish` and `call` reject with. */
export interface Refusal extends Error {
  /**
   * The server's code (`forbidden`, `rate_limited`, `call_failed`, `call_timeout`, …). `closed`: there was no
   * connection, or it was lost before the answer came, and then it may have been done.
   */
  readonly code: string;
}

/** Something that the application should know of. */
export interface Fault {
  /**
   * A code of the server's `error` frames (`forbidden`, `too_many_rooms`, …); a close code that says to stay away
   * or to come back slowly (4503, 1008, …); `token` if `token()` failed; `socket` if none could be made.
   */
  readonly code: string | number;
  readonly message: string;
  /** The room it is about. */
  readonly room?: string | undefined;
  /** What was thrown. */
  readonly cause?: unknown;
}

export interface Options {
  /**
   * Brings a token (JWT) from your backend, or nothing for a visitor without one. Called for the first connection,
   * before a token expires, and whenever the server says that it has expired.
   */
  readonly token?: () => Token | Promise<Token>;
  /** Rooms to join, beside those of the url's `?room=`. */
  readonly rooms?: readonly string[];
  /** A cursor from before (`Postroom.cursor`, or the `id` of a notification): what came after it comes first. */
  readonly since?: string | undefined;
  /**
   * Whether notifications that ask for it are acknowledged when their handlers have returned, and the promises that
   * they returned have resolved: true, if you do not say. With false, call `acknowledge`.
   */
  readonly acknowledge?: boolean;
  /** For Node before 22: the `WebSocket` of the package `ws`. */
  readonly WebSocket?: SocketConstructor | undefined;
  /** For tests. */
  readonly clock?: Clock;
  /** For tests: 0 to 1, as `Math.random`. */
  readonly random?: () => number;
  /** For tests: where `online` and `visibilitychange` are heard. */
  readonly window?: Partial<WindowLike>;
}

/** What `postroom()` returns. */
export interface Postroom {
  readonly state: State;
  /** The id of the open connection, for a backend's `except`; undefined while there is none. */
  readonly connection: string | undefined;
  /** The last id seen: what a later page may give as `since`. */
  readonly cursor: string | undefined;

  /** Calls the handler for each notification of this event, or of any (`*`). Returns a function that ends it. */
  on<Data = unknown>(event: string, handler: Handler<Data>): () => void;
  /** Joins a room, from now on and on every connection to come. Joining again is harmless. */
  subscribe(room: string): void;
  /** Leaves a room. What was on its way still comes. */
  unsubscribe(room: string): void;
  /**
   * Who is in a presence room. It does not join the room: `subscribe`, the url or your backend does, before or after.
   * The object stays the same for a room, also over reconnects.
   */
  members<Info = unknown>(room: string): Members<Info>;
  /**
   * Sends an event to all others in a room that the token's claim `publish` allows. Resolves when the server has it.
   * Rejects with a `Refusal`.
   */
  publish(room: string, event: string, data?: unknown, options?: PublishOptions): Promise<Published>;
  /** Asks your backend, and brings its answer. Rejects with a `Refusal`. */
  call<Result = unknown>(event: string, data?: unknown): Promise<Result>;
  /** Acknowledges a notification by its id. Needed only with the option `acknowledge: false`. */
  acknowledge(id: string): void;
  /** Ends it, for good. */
  close(): void;

  /** Called with every new state. */
  onstate: ((state: State) => void) | undefined;
  /** Called when notifications were missed that can no longer be replayed: load your state anew. */
  onlost: (() => void) | undefined;
  /** Called with every fault. Until you set it, faults are printed on the console. */
  onerror: ((fault: Fault) => void) | undefined;
}

/** A user who is in a presence room, with one connection or more. */
export interface Member<Info = unknown> {
  readonly user: string;
  /** The claim `info` in the token of the user's newest connection; null if it has none. */
  readonly info: Info | null;
}

/**
 * Who is in a presence room, oneself included. While the connection is lost, it says what was known last. If a handler
 * throws, the error is reported as usual, and the others are called.
 */
export interface Members<Info = unknown> {
  /**
   * The members by name, new ones at the end; a fresh array after each change. Undefined while unknown: the room is
   * not joined, or has too many members to tell them by name.
   */
  readonly list: readonly Member<Info>[] | undefined;
  /** How many members there are; undefined while unknown. */
  readonly count: number | undefined;
  /** Called with each member who came since the list before; not where there was none. */
  onjoined: ((member: Member<Info>) => void) | undefined;
  /** Called with each member who left since the list before. */
  onleft: ((member: Member<Info>) => void) | undefined;
  /** Called after every change, also of an `info` or of `count`; once for a whole list that came anew. */
  onchange: (() => void) | undefined;
}

/** If it returns a promise, the notification is acknowledged when that resolves. */
export type Handler<Data = unknown> = (data: Data, frame: Notification<Data>) => unknown;
export type Token = string | null | undefined;
export type SocketConstructor = new (url: string, protocols: string[]) => SocketLike;

/** As much of a WebSocket as is used; the handlers are set, never read. */
export interface SocketLike {
  onmessage: unknown;
  onclose: unknown;
  onerror: unknown;
  send(text: string): void;
  close(): void;
}

export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  setTimeout(run: () => void, milliseconds: number): unknown;
  clearTimeout(timer: unknown): void;
}

export interface WindowLike {
  addEventListener(type: string, listener: () => void): void;
  removeEventListener(type: string, listener: () => void): void;
  readonly document: { readonly hidden: boolean };
}

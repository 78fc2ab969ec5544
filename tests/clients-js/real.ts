import { afterEach } from '@jest/globals';
import { WebSocket } from 'ws';
import {
  type Fault,
  type Notification,
  type Options,
  type Postroom,
  postroom,
} from '../../clients/js/src/postroom.js';

/** A client over real sockets, whose connection the test can break. */
export interface RealClient {
  readonly room: Postroom;
  readonly heard: Notification[];
  /** Takes off the handler that fills `heard`. */
  readonly deafen: () => void;
  readonly faults: Fault[];
  /** Every frame that came, over all connections. */
  readonly frames: { type: string; [field: string]: unknown }[];
  /** How often it was opened, and how often it reported that the past is gone. */
  readonly opened: () => number;
  readonly lost: () => number;
  /** Cuts the connection as a network does: without a closing handshake. */
  drop(): void;
  /** Resolves when the condition holds; checks it after each event of the client. */
  until(condition: () => boolean): Promise<void>;
}

const rooms = new Set<Postroom>();

afterEach(() => {
  for (const room of rooms) room.close();
  rooms.clear();
});

/** Opens a client that comes back without delay. Closed after the test. */
export function openRealClient(url: string, options: Options = {}): RealClient {
  let newest: WebSocket | undefined;
  const frames: RealClient['frames'] = [];
  const Droppable = class extends WebSocket {
    constructor(address: string, protocols: string[]) {
      super(address, protocols);
      newest = this;
      this.on('message', data => {
        frames.push(JSON.parse(String(data)));
        look();
      });
    }
  };
  const room = postroom(url, { WebSocket: Droppable, random: () => 0, ...options });
  rooms.add(room);
  const heard: Notification[] = [];
  const faults: Fault[] = [];
  let opened = 0;
  let lost = 0;
  const waiting = new Set<() => void>();
  const look = () => {
    for (const waiter of waiting) waiter();
  };
  room.onstate = state => {
    if (state === 'open') opened++;
    look();
  };
  room.onlost = () => {
    lost++;
    look();
  };
  room.onerror = fault => {
    faults.push(fault);
    look();
  };
  const deafen = room.on('*', (_, frame) => {
    heard.push(frame);
    look();
  });
  return {
    room,
    heard,
    deafen,
    faults,
    frames,
    opened: () => opened,
    lost: () => lost,
    drop: () => newest?.terminate(),
    until: condition =>
      new Promise(resolve => {
        const waiter = () => {
          if (!condition()) return;
          waiting.delete(waiter);
          resolve();
        };
        waiting.add(waiter);
        waiter();
      }),
  };
}

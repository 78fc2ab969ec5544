import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Connection, type Socket } from '../../src/core/connection.js';
import { Coalescer, type CoalescerEvents } from '../../src/core/coalescer.js';
import { PEER, wireOf } from '../support/core.js';
import { Counters } from '../../src/core/counters.js';

/** A socket that keeps everything written to it, one item for each write. */
class Writes implements Socket {
  readonly waiting = 0;
  readonly writes: string[] = [];

  write(bytes: Buffer, taken?: () => void): void {
    this.writes.push(String(bytes));
    taken?.();
  }

  close(): void {}
}

const wire = wireOf('test', () => {
  throw new Error('not used here');
});

function connectionOf(socket: Socket): Connection {
  return new Connection(socket, wire, { user: undefined, info: undefined, peer: PEER, openedAt: 0 });
}

function newCoalescer(events: Partial<CoalescerEvents> = {}): Coalescer {
  const failed = (_connection: Connection, error: unknown) => {
    throw error;
  };
  const all = { taken: () => undefined, failed, atTurnEnd: () => undefined, ...events };
  return new Coalescer(all, new Counters(), 1e6);
}

function turnEnd(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve));
}

describe('coalescer', () => {
  it('writes each connection exactly its frames, in order, in one write a turn', async () => {
    const CONNECTIONS = 5;
    // A turn: frames, each sent to some of the connections; some of them are flushed in between.
    const send = fc.record({
      frame: fc.string({ minLength: 1, maxLength: 4 }).map(text => Buffer.from(text)),
      to: fc.array(fc.nat(CONNECTIONS - 1), { maxLength: 8 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(send, { maxLength: 20 }), { maxLength: 4 }), async turns => {
        const coalescer = newCoalescer();
        const sockets = Array.from({ length: CONNECTIONS }, () => new Writes());
        const connections = sockets.map(socket => connectionOf(socket));
        const expected: string[][] = sockets.map(() => []);
        for (const turn of turns) {
          const owed = sockets.map(() => '');
          for (const { frame, to } of turn) {
            for (const index of to) {
              coalescer.send(connections[index] as Connection, frame);
              owed[index] += String(frame);
            }
          }
          // On a busy machine the rest is written in the next turn.
          do await turnEnd();
          while (connections.some(({ pending }) => pending !== undefined));
          owed.forEach((text, index) => {
            if (text !== '') expected[index]?.push(text);
          });
        }
        expect(sockets.map(socket => socket.writes)).toEqual(expected);
      }),
    );
  });

  it('gives those who are owed the same the same buffer', async () => {
    const buffers: Buffer[] = [];
    const socket: Socket = { waiting: 0, write: bytes => void buffers.push(bytes), close: () => undefined };
    const coalescer = newCoalescer();
    const connections = Array.from({ length: 3 }, () => connectionOf(socket));
    for (const frame of [Buffer.from('one'), Buffer.from('two')])
      for (const connection of connections) coalescer.send(connection, frame);
    await turnEnd();
    expect(String(buffers[0])).toBe('onetwo');
    expect(buffers).toHaveLength(3);
    expect(new Set(buffers).size).toBe(1);
  });

  it('writes nothing to a connection that was closed in the turn, and at once to one that is flushed', async () => {
    const coalescer = newCoalescer();
    const [gone, flushed] = [new Writes(), new Writes()];
    const closed = connectionOf(gone);
    const early = connectionOf(flushed);
    coalescer.send(closed, Buffer.from('lost'));
    closed.closed = true;
    coalescer.send(early, Buffer.from('first'));
    coalescer.flush(early);
    expect(flushed.writes).toEqual(['first']);
    coalescer.send(early, Buffer.from('second'));
    await turnEnd();
    expect(flushed.writes).toEqual(['first', 'second']);
    expect(gone.writes).toEqual([]);
  });

  it('tells a reader that its bytes were taken, also when it was owed none', async () => {
    const taken: Connection[] = [];
    const coalescer = newCoalescer({ taken: connection => void taken.push(connection) });
    const socket = new Writes();
    const reader = connectionOf(socket);
    reader.reading = { cursor: 0, past: new Map(), replays: [], isQueued: false };
    coalescer.awaitTaken(reader);
    await turnEnd();
    coalescer.awaitTaken(reader);
    coalescer.send(reader, Buffer.from('frame'));
    await turnEnd();
    expect(socket.writes).toEqual(['', 'frame']);
    expect(taken).toEqual([reader, reader]);
  });

  it('serves the others where one fails', async () => {
    const failures: unknown[] = [];
    const coalescer = newCoalescer({
      failed: (connection, error) => void failures.push([connection, error]),
    });
    const error = new Error('broken');
    const broken: Socket = {
      waiting: 0,
      write: () => {
        throw error;
      },
      close: () => undefined,
    };
    const good = new Writes();
    const first = connectionOf(broken);
    coalescer.send(first, Buffer.from('a'));
    coalescer.send(connectionOf(good), Buffer.from('b'));
    await turnEnd();
    expect(failures).toEqual([[first, error]]);
    expect(good.writes).toEqual(['b']);
  });
});

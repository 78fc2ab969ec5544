import { beforeEach, describe, expect, it } from '@jest/globals';
import type { Connection } from '../../src/core/connection.js';
import type { Observer } from '../../src/core/observer.js';
import { BEGINNING, type Client, type Core, FakeSocket, startCore, until } from './fakes.js';

/** Notes each observation in a word or two. */
class Notes implements Observer {
  readonly #notes: { connection: Connection; text: string }[] = [];

  opened = (connection: Connection) => this.#note(connection, 'opened');
  closed = (connection: Connection, reason: string) => this.#note(connection, `closed: ${reason}`);
  identified = (connection: Connection, before: string | undefined) =>
    this.#note(connection, `identified: ${before} → ${connection.user}`);
  joined = (connection: Connection, room: string) => this.#note(connection, `joined ${room}`);
  left = (connection: Connection, room: string) => this.#note(connection, `left ${room}`);

  of({ connection }: Client): string[] {
    return this.#notes.filter(note => note.connection === connection).map(({ text }) => text);
  }

  /** The observations since the last call, of all connections. */
  take(): string[] {
    return this.#notes.splice(0).map(({ text }) => text);
  }

  #note(connection: Connection, text: string): void {
    this.#notes.push({ connection, text });
  }
}

let notes: Notes;
let core: Core;
beforeEach(async () => {
  notes = new Notes();
  core = await startCore({ observers: [notes], maxBufferedBytes: 20, retentionBytes: 8000 });
});

/** A connection that was opened before the test begins to observe. */
function connected(...rooms: string[]): Client {
  const client = core.connect({ rooms });
  notes.take();
  return client;
}

describe('an observer is told at once', () => {
  it('that a connection was opened, then which rooms it has joined', () => {
    core.connect({ user: 'ann', rooms: ['b', 'a'], since: BEGINNING });
    expect(notes.take()).toEqual(['opened', 'joined b', 'joined a']);
  });

  it('that it joined a room, the first time', () => {
    const { connection } = connected();
    core.postroom.subscribe(connection, 'a');
    expect(notes.take()).toEqual(['joined a']);
    core.postroom.subscribe(connection, 'a');
    core.postroom.subscribe(connection, 'a', BEGINNING);
    expect(notes.take()).toEqual([]);
  });

  it('that it left a room that it was in, once', () => {
    const { connection } = connected('a');
    core.postroom.unsubscribe(connection, 'b');
    expect(notes.take()).toEqual([]);
    core.postroom.unsubscribe(connection, 'a');
    core.postroom.unsubscribe(connection, 'a');
    expect(notes.take()).toEqual(['left a']);
    core.postroom.subscribe(connection, 'a');
    expect(notes.take()).toEqual(['joined a']);
  });

  it('when it is known whose connection it is, and when the info changes', () => {
    const { connection } = connected('a');
    core.postroom.identify(connection, 'ann');
    expect(notes.take()).toEqual(['identified: undefined → ann']);
    core.postroom.identify(connection, 'ann', '{"n":1}');
    core.postroom.identify(connection, 'ann', '{"n":1}');
    expect(notes.take()).toEqual(['identified: ann → ann']);
    expect(connection.user).toBe('ann');
    core.postroom.disconnect(connection, 'client');
    expect(notes.take()).toEqual(['left a', 'closed: client']);
  });

  it.each(['client', 'lost'] as const)(
    'that it ended by the client or broke (%s), after it left its rooms, once',
    reason => {
      const { connection, socket } = connected('b', 'a');
      core.postroom.disconnect(connection, reason);
      expect(notes.take()).toEqual(['left b', 'left a', `closed: ${reason}`]);
      core.postroom.disconnect(connection, 'client');
      core.postroom.close(connection, 'removed');
      expect(notes.take()).toEqual([]);
      expect(socket.closings).toEqual([]);
    },
  );

  it('that we closed it and why, after it left its rooms, once', () => {
    const { connection, socket } = connected('a');
    core.postroom.close(connection, 'token_expired');
    expect(notes.take()).toEqual(['left a', 'closed: token_expired']);
    core.postroom.close(connection, 'shutting_down');
    core.postroom.disconnect(connection, 'client');
    expect(notes.take()).toEqual([]);
    expect(socket.closings).toEqual(['token_expired']);
  });

  it('nothing more of one that has ended', () => {
    const { connection } = connected('a');
    core.postroom.disconnect(connection, 'client');
    notes.take();
    core.postroom.subscribe(connection, 'b');
    core.postroom.subscribe(connection, 'b', BEGINNING);
    core.postroom.unsubscribe(connection, 'a');
    core.postroom.identify(connection, 'ann');
    expect(notes.take()).toEqual([]);
    expect(core.postroom.stats).toMatchObject({ connections: 0, users: 0, rooms: 0 });
  });
});

describe('an observer is told that the core closed a connection', () => {
  it('that fell out of the past', async () => {
    const client = core.connect({ rooms: ['a'] });
    client.socket.stall();
    core.publishNumbers('a', 0, 100);
    await core.settle();
    expect(notes.of(client)).toEqual(['opened', 'joined a']);
    client.socket.flow();
    await core.settle();
    expect(notes.of(client)).toEqual(['opened', 'joined a', 'left a', 'closed: fell_behind']);
  });

  it('whose socket fails, and that one only', async () => {
    const broken = new FakeSocket();
    broken.write = () => {
      throw new Error('broken');
    };
    const [failing, other] = [core.connect({ rooms: ['a'], socket: broken }), core.connect({ rooms: ['a'] })];
    const published = core.publishNumbers('a', 0, 2);
    await core.settle();
    expect(notes.of(failing)).toEqual(['opened', 'joined a', 'left a', 'closed: internal']);
    expect(broken.closings).toEqual(['internal']);
    expect(core.failures).toEqual([new Error('broken')]);
    expect(notes.of(other)).toEqual(['opened', 'joined a']);
    expect(other.frames()).toEqual(published);
  });

  it('where the journal lost something that all of them should have heard', async () => {
    const clients = [core.connect({ rooms: ['a'] }), core.connect({ user: 'ann', rooms: ['a', 'b'] })];
    await core.lose();
    expect(core.postroom.stats).toMatchObject({ connections: 0, users: 0, rooms: 0 });
    await until(() => clients.every(({ socket }) => socket.closings.length > 0));
    expect(clients.map(client => notes.of(client))).toEqual([
      ['opened', 'joined a', 'left a', 'closed: fell_behind'],
      ['opened', 'joined a', 'joined b', 'left a', 'left b', 'closed: fell_behind'],
    ]);
    const next = core.connect({ rooms: ['a'], since: BEGINNING });
    expect(next.start.recovered).toBe(false);
    const live = core.publishNumbers('a', 0, 1);
    await core.settle();
    expect(next.frames()).toEqual(live);
    expect(clients.map(({ frames }) => frames())).toEqual([[], []]);
  });
});

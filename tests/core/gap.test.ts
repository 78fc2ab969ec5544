import { describe, expect, it } from '@jest/globals';
import type { Connection } from '../../src/core/connection.js';
import type { Observer } from '../../src/core/observer.js';
import { type Client, type Core, FakeSocket, startCore, until } from './fakes.js';

/** A socket that takes longer to close than one turn has time for. */
class SlowToClose extends FakeSocket {
  override close(...reason: Parameters<FakeSocket['close']>): void {
    for (const end = performance.now() + 6; performance.now() < end; );
    super.close(...reason);
  }
}

/** Connects so many clients before it that, after a gap of the journal, it is closed some turns later. */
function connectOthers(core: Core): void {
  for (let n = 0; n < 6; n++) core.connect({ socket: new SlowToClose() });
}

async function closed({ socket, frames }: Client): Promise<string[]> {
  await until(() => socket.closings.length > 0);
  expect(socket.closings).toEqual(['fell_behind']);
  return frames();
}

describe('after the journal lost an entry, before it is told so, a connection hears nothing new', () => {
  it('though it is live', async () => {
    const core = await startCore();
    connectOthers(core);
    const client = core.connect({ rooms: ['a'] });
    await core.lose();
    core.publishNumbers('a', 0, 1);
    expect(client.connection.closed).toBe(false);
    expect(await closed(client)).toEqual([]);
  });

  it('though it had just come and its past was to be read', async () => {
    const core = await startCore();
    connectOthers(core);
    const { id } = await core.publish('room:a', 'before');
    const client = core.connect({ rooms: ['a'], since: id });
    await core.lose();
    core.publishNumbers('a', 0, 1);
    expect(await closed(client)).toEqual([]);
  });

  it('though it asks for the past of a room', async () => {
    const rooms: string[] = [];
    const joined = (_: Connection, room: string) => void rooms.push(`joined ${room}`);
    const left = (_: Connection, room: string) => void rooms.push(`left ${room}`);
    const observer: Observer = { joined, left };
    const core = await startCore({ observers: [observer] });
    connectOthers(core);
    const client = core.connect();
    const since = await core.lose();
    core.publishNumbers('a', 0, 1);
    core.postroom.subscribe(client.connection, 'a', since);
    expect(await closed(client)).toEqual([]);
    // It was never in that room.
    expect(rooms).toEqual([]);
  });
});

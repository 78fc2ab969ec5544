import { describe, expect, it } from '@jest/globals';
import { clientFrame, type RawClient, rawConnect, upgradeRequest } from '../clients/raw.js';
import { token } from '../support/client.js';
import type { ServerProcess } from '../support/process.js';
import { deafPeer, heldMemory, MIB, startPulse, startVictim, tell } from '../support/victim.js';

const ROOM = 'presence.a';
const TOGGLES = 20_000;
const MEMBERS = 300;
const DEAF = 4;
const ROOMS = 100;
const CHURN = 120;
const LISTS = 400;
const MAX_BUFFERED_BYTES = 64 * 1024;
// Everybody notices a turn of the event loop that takes longer.
const LONGEST_TURN_MS = 100;
// A page does not notice that.
const LATEST_MS = 500;
// A quiet process varies by so much.
const MEMORY_BYTES = 20 * MIB;

const info = { text: 'x'.repeat(900) };

function path(sub: string, rooms: readonly string[], about?: object): string {
  return `/ws?rooms=${rooms}&token=${token({ sub, rooms: ['presence.*'], info: about })}`;
}

async function enter(server: ServerProcess, sub: string, rooms = [ROOM], about?: object): Promise<RawClient> {
  const client = await rawConnect(server.url, path(sub, rooms, about));
  await nextOf(client, 'welcome');
  return client;
}

async function nextOf(client: RawClient, type: string) {
  for (;;) {
    const frame = await client.nextJson();
    if (frame.type === type) return frame;
  }
}

/** How late others are while something happens. */
async function latestDuring(server: ServerProcess, act: () => Promise<void>): Promise<number> {
  const pulse = await startPulse(server, 10);
  await act();
  return Math.max(...(await pulse.stop()).map(beat => beat.took));
}

describe('presence', () => {
  it('does not show who joins and leaves a room again and again', async () => {
    const server = await startVictim();
    const watching = await enter(server, 'ann');
    await nextOf(watching, 'subscribed');
    const toggling = await enter(server, 'bob', []);
    let answered = 0;
    const latest = await latestDuring(server, async () => {
      for (let toggle = 0; toggle < TOGGLES; toggle++) {
        toggling.send({ type: toggle % 2 === 0 ? 'subscribe' : 'unsubscribe', room: ROOM });
        if (toggle % 100 === 99) for (; answered <= toggle; answered++) await toggling.nextJson();
      }
    });
    toggling.socket.destroy();
    const frames = [await watching.nextJson(), await watching.nextJson()].map(({ type, user }) => ({
      type,
      user,
    }));
    watching.send({ type: 'ping', ref: 'last' });
    const last = await watching.nextJson();
    tell(`${TOGGLES} joins and leaves of a presence room`, { 'others latest ms': latest });
    expect(frames).toEqual([
      { type: 'joined', user: 'bob' },
      { type: 'left', user: 'bob' },
    ]);
    expect(last).toMatchObject({ type: 'pong', ref: 'last' });
    expect(latest).toBeLessThan(LONGEST_TURN_MS);
  });

  it('holds little for a member that reads nothing, and tells the others at once', async () => {
    const server = await startVictim({
      MAX_BUFFERED_BYTES: String(MAX_BUFFERED_BYTES),
      PRESENCE_GRACE_SECONDS: '0',
      // The members of this test answer no pings.
      PING_SECONDS: '600',
    });
    const rooms = Array.from({ length: ROOMS }, (_, index) => `presence.${index}`);
    const watching = await enter(server, 'ann', rooms.slice(0, 1));
    await nextOf(watching, 'subscribed');
    let slowest = 0;
    const churn = async (users: string) => {
      for (let round = 0; round < CHURN; round++) {
        const user = `${users}${round}`;
        const began = performance.now();
        const coming = await enter(server, user, rooms, info);
        while ((await nextOf(watching, 'joined')).user !== user);
        slowest = Math.max(slowest, performance.now() - began);
        coming.socket.destroy();
        while ((await nextOf(watching, 'left')).user !== user);
      }
    };
    // Until the process has the memory that it needs for this.
    await churn('first');
    const before = await heldMemory(server, 3);
    for (let deaf = 0; deaf < DEAF; deaf++)
      await deafPeer(server, upgradeRequest(path(`deaf${deaf}`, rooms)));
    await churn('second');
    const grown = (await heldMemory(server, 3)) - before;
    // Each would hold this if all frames waited for it.
    const unbounded = DEAF * ROOMS * CHURN * 1000;
    tell(`${DEAF} members that read nothing`, {
      'slowest join ms': slowest,
      'memory MiB': grown / MIB,
      'unbounded MiB': unbounded / MIB,
    });
    expect(slowest).toBeLessThan(LATEST_MS);
    expect(grown).toBeLessThan(MEMORY_BYTES);
  }, 90_000);

  it('holds few lists for a peer that asks for a large one again and again, and reads nothing', async () => {
    const server = await startVictim();
    const members = Array.from({ length: MEMBERS }, (_, index) => `u${index}`);
    for (const member of members) await enter(server, member, [ROOM], info);
    const before = await heldMemory(server, 3);
    const peer = await deafPeer(server, upgradeRequest(path('deaf', [])));
    const frames = ['subscribe', 'unsubscribe'].map(type =>
      clientFrame(JSON.stringify({ type, room: ROOM })),
    );
    const latest = await latestDuring(server, async () => {
      for (let list = 0; list < LISTS; list++) for (const frame of frames) peer.write(frame);
    });
    const grown = (await heldMemory(server, 3)) - before;
    tell(`${LISTS} lists of ${MEMBERS} members that nobody reads`, {
      'others latest ms': latest,
      'memory MiB': grown / MIB,
    });
    expect(latest).toBeLessThan(LONGEST_TURN_MS);
    expect(grown).toBeLessThan(MEMORY_BYTES);
  }, 60_000);
});

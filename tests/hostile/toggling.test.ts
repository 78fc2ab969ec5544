import { connect, type Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { type RawClient, rawConnect } from '../clients/raw.js';
import type { ServerProcess } from '../support/process.js';
import { notifyRequest } from '../support/raw.js';
import { publish, type Receipt, startPulse, startVictim, tell } from '../support/victim.js';

const TOGGLES = 16_000;
// The test means something only if entries that were seen and entries that were not alternate so often.
const LEAST_STRETCHES = 4000;
// A page does not notice that.
const LATEST_MS = 250;
// Everybody notices a turn of the event loop that takes longer.
const LONGEST_TURN_MS = 100;
// Frames under way: the server takes one in a turn, and others come between.
const AHEAD = 1;
const UNDER_WAY = 2;
const ROOM = 'public.toggled';

describe('a client that joins and leaves a room thousands of times', () => {
  it('and then asks for its past is answered at once, and gets each of them once', async () => {
    const server = await startVictim({ RETENTION_BYTES: String(256 * 1024 * 1024) });
    const { body: before } = await publish<Receipt>(server, { room: ROOM, event: 'e' });
    const client = await rawConnect(server.url, '/ws');
    await client.nextJson();
    const publishing = new Publishing(server);
    const seen = await toggle(client);
    const ids = await publishing.stop();
    const stretches = stretchesOf(ids, seen);

    const pulse = await startPulse(server, 10);
    const began = performance.now();
    client.send({ type: 'subscribe', room: ROOM, since: before.id });
    const answer = await nextOf(client, 'subscribed', seen);
    const took = performance.now() - began;
    // When this live one has come, it has got all.
    const { body: last } = await publish<Receipt>(server, { room: ROOM, event: 'e' });
    const replayed: string[] = [];
    while (replayed.at(-1) !== last.id) {
      const frame = await client.nextJson();
      if (frame.type === 'notification') replayed.push(String(frame.id));
    }
    const whole = performance.now() - began;
    const latest = Math.max(...(await pulse.stop()).map(beat => beat.took));
    tell(`${TOGGLES} subscribes and unsubscribes`, {
      published: ids.length,
      stretches,
      'answer ms': took,
      'all of the past ms': whole,
      'live latest ms': latest,
      recovered: String(answer.recovered),
    });
    expect(stretches).toBeGreaterThan(LEAST_STRETCHES);
    expect(took).toBeLessThan(LATEST_MS);
    expect(latest).toBeLessThan(LONGEST_TURN_MS);
    const owed = ids.filter(id => !seen.has(id));
    expect(replayed).toEqual(answer.recovered === true ? [...owed, last.id] : [last.id]);
  }, 80_000);
});

/** Joins and leaves. Returns what it heard meanwhile. */
async function toggle(client: RawClient): Promise<Set<string>> {
  const seen = new Set<string>();
  const send = (number: number) =>
    client.send({ type: number % 2 === 0 ? 'subscribe' : 'unsubscribe', room: ROOM, ref: number });
  for (let number = 0; number < AHEAD; number++) send(number);
  for (let answered = 0; answered < 2 * TOGGLES; answered++) {
    await nextOf(client, answered % 2 === 0 ? 'subscribed' : 'unsubscribed', seen);
    if (answered + AHEAD < 2 * TOGGLES) send(answered + AHEAD);
  }
  return seen;
}

/** The next frame of a type. Notes what is heard before it. */
async function nextOf(client: RawClient, type: string, seen: Set<string>) {
  for (;;) {
    const frame = await client.nextJson();
    if (frame.type === type) return frame;
    if (frame.type !== 'notification') throw new Error(`${type} expected, ${JSON.stringify(frame)} came`);
    expect(seen.has(String(frame.id))).toBe(false);
    seen.add(String(frame.id));
  }
}

function stretchesOf(ids: readonly string[], seen: ReadonlySet<string>): number {
  return ids.filter((id, index) => index > 0 && seen.has(id) && !seen.has(ids[index - 1] ?? '')).length;
}

/** Publishes with several posts under way on one connection, until `stop`. */
class Publishing {
  readonly #ids: string[] = [];
  readonly #socket: Socket;
  readonly #done: Promise<void>;
  #underWay = UNDER_WAY;
  #stopped = false;

  constructor({ port }: ServerProcess) {
    const post = notifyRequest(JSON.stringify({ room: ROOM, event: 'e' }));
    this.#socket = connect({ host: '127.0.0.1', port });
    for (let first = 0; first < UNDER_WAY; first++) this.#socket.write(post);
    let rest = '';
    this.#done = new Promise((resolve, reject) => {
      this.#socket.on('error', reject).on('close', () => reject(new Error('the publisher was closed')));
      this.#socket.setEncoding('latin1').on('data', (text: string) => {
        rest += text;
        for (const [whole, id = ''] of rest.matchAll(/"id":"([^"]+)"/g)) {
          rest = rest.slice(rest.indexOf(whole) + whole.length);
          this.#ids.push(id);
          if (this.#stopped) this.#underWay--;
          else this.#socket.write(post);
        }
        if (this.#underWay === 0) resolve();
      });
    });
  }

  /** The ids of all, in order. */
  async stop(): Promise<string[]> {
    this.#stopped = true;
    await this.#done;
    this.#socket.destroy();
    return this.#ids;
  }
}

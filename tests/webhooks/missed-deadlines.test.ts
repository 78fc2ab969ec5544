import { describe, expect, it } from '@jest/globals';
import type { Connection } from '../../src/core/connection.js';
import { Deadlines } from '../../src/core/receipts/deadlines.js';
import type { LocalReceipt, Receipts } from '../../src/core/receipts/receipts.js';
import { type Address, userAddress } from '../../src/model/address.js';
import type { Entry } from '../../src/model/notification.js';
import { MemoryStores } from '../../src/storage/memory.js';
import type { Happening } from '../../src/webhooks/event.js';
import { Missed } from '../../src/webhooks/missed.js';
import { turn } from '../core/fakes.js';
import { WebhookReceiver } from '../support/receiver.js';
import { startServer } from '../support/server.js';
import { VirtualTime } from '../support/virtual-cluster.js';

const TURNS = 20;

/** The deadlines of one node, with the stores that it shares, in virtual time. */
class Watch {
  readonly time = new VirtualTime();
  readonly stores = new MemoryStores();
  readonly deadlines = new Deadlines(this.time.clock.now);
  readonly told: string[] = [];
  readonly failures: unknown[] = [];
  /** Whether events can be stored. */
  works = true;
  isHeld = true;
  /** Of events that are being stored. */
  bytes = 0;
  mostBytes = 0;
  #acknowledged: (receipt: LocalReceipt, connection: Connection) => void = () => undefined;
  #number = 0;

  static async start(): Promise<Watch> {
    const watch = new Watch();
    const isHeld = () => watch.isHeld;
    new Missed({
      receipts: {
        watch: (acknowledged: Watch['acknowledged']) => {
          watch.#acknowledged = acknowledged;
        },
        missed: () => undefined,
      } as unknown as Receipts,
      deadlines: watch.deadlines,
      acknowledgements: watch.stores.open<true>('acknowledgements'),
      places: watch.stores.open<string>('places'),
      lease: {
        get isHeld() {
          return isHeld();
        },
        hold: async () => true,
        release: async () => undefined,
      },
      tell: async happening => {
        if (!watch.works) return false;
        watch.told.push(textOf(happening));
        const bytes = (happening as { notification?: string }).notification?.length ?? 0;
        watch.bytes += bytes;
        watch.mostBytes = Math.max(watch.mostBytes, watch.bytes);
        await turn();
        watch.bytes -= bytes;
        return true;
      },
      now: watch.time.clock.now,
      after: watch.time.after,
      failed: error => void watch.failures.push(error),
    }).start();
    await watch.pass(1500);
    return watch;
  }

  get acknowledged() {
    return this.#acknowledged;
  }

  add(ack: number, ...users: readonly string[]): Entry {
    const addresses: Address[] = users.map(userAddress);
    const number = String(this.#number++);
    const notification = {
      addresses,
      event: number,
      data: '1',
      except: [],
      key: undefined,
      ttl: undefined,
      ack,
    };
    const time = this.time.clock.now();
    const entry: Entry = { id: `${time}-${this.#number}`, time, sequence: this.#number, notification };
    this.deadlines.add(entry);
    return entry;
  }

  acknowledge(entry: Entry, user: string): void {
    const receipt = {
      entry,
      acknowledged: new Set(['c']),
      users: new Map([[user, { connections: 1, acknowledged: 1 }]]),
    };
    this.#acknowledged(receipt as unknown as LocalReceipt, { user } as Connection);
  }

  async pass(milliseconds: number): Promise<void> {
    await settle();
    for (let left = milliseconds; left > 0; ) {
      left -= this.time.pass(left);
      await settle();
    }
  }

  /** What is stored of acknowledgements. */
  async stored(): Promise<string[]> {
    const all = await this.stores.open<true>('acknowledgements').range('', '~', 1000);
    return all.map(([key]) => key);
  }
}

function textOf(happening: Happening): string {
  const { notification, user } = happening as unknown as { notification: string; user: string };
  return `${JSON.parse(notification).event} ${user}`;
}

async function settle(): Promise<void> {
  for (let turns = 0; turns < TURNS; turns++) await turn();
}

describe('what leaves the past', () => {
  it.each([0, 1, 500, 1000, 1001])('%i ms after its deadline was missed, once', async late => {
    const watch = await Watch.start();
    const entry = watch.add(5, 'ann');
    await watch.pass(5000 + late);
    watch.deadlines.dropped(entry);
    await watch.pass(10_000);
    expect(watch.told).toEqual(['0 ann']);
  });

  it('before its deadline was missed, once, also if that cannot be stored at first', async () => {
    const watch = await Watch.start();
    const entries = ['ann', 'bob', 'cem'].map(user => watch.add(50, user));
    watch.acknowledge(entries[1] as Entry, 'bob');
    watch.works = false;
    for (const entry of entries) watch.deadlines.dropped(entry);
    await watch.pass(3000);
    watch.works = true;
    await watch.pass(60_000);
    expect(watch.told).toEqual(['0 ann', '2 cem']);
    expect(await watch.stored()).toEqual([]);
  });

  it('is told by the node that has the lease then', async () => {
    const watch = await Watch.start();
    watch.isHeld = false;
    const entry = watch.add(5, 'ann');
    await watch.pass(5500);
    watch.deadlines.dropped(entry);
    await watch.pass(4000);
    watch.isHeld = true;
    await watch.pass(4000);
    expect(watch.told).toEqual(['0 ann']);
  });

  it('costs the same, however much has left just before', () => {
    const { deadlines, time } = new Watch();
    deadlines.watch();
    const addresses: Address[] = ['user:ann'];
    const notification = {
      addresses,
      event: 'e',
      data: '1',
      except: [],
      key: undefined,
      ttl: undefined,
      ack: 50,
    };
    const drop = (count: number) => {
      const entries = Array.from({ length: count }, (_, sequence): Entry => {
        const at = time.clock.now();
        return { id: `${at}-${sequence}`, time: at, sequence, notification };
      });
      for (const entry of entries) deadlines.add(entry);
      const began = performance.now();
      for (const entry of entries) deadlines.dropped(entry);
      return (performance.now() - began) / count;
    };
    drop(2000);
    deadlines.forgetLeft(time.clock.now());
    const few = drop(2000);
    deadlines.forgetLeft(time.clock.now());
    const many = drop(50_000);
    expect(many / few).toBeLessThan(10);
  });
});

it('an acknowledgement that comes when its time is over leaves nothing behind', async () => {
  const watch = await Watch.start();
  const entry = watch.add(5, 'ann');
  await watch.pass(8000);
  expect(watch.told).toEqual(['0 ann']);
  watch.acknowledge(entry, 'ann');
  await watch.pass(10_000);
  expect(await watch.stored()).toEqual([]);
});

it('what many users have missed is told in parts that the queue can hold', async () => {
  const watch = await Watch.start();
  const users = Array.from({ length: 2000 }, (_, index) => `${index} ${'u'.repeat(90)}`);
  watch.add(5, ...users);
  await watch.pass(5000);
  for (let seconds = 0; watch.told.length < users.length && seconds < 60; seconds++) await watch.pass(1000);
  expect(watch.told).toEqual(users.map(user => `0 ${user}`));
  expect(watch.mostBytes).toBeLessThan(4 * 1024 * 1024);
});

it('what has as much time as the retention was missed, too', async () => {
  const receiver = await WebhookReceiver.start();
  const server = await startServer({
    ...receiver.settings,
    WEBHOOK_EVENTS: 'notification.missed',
    RETENTION_SECONDS: '2',
  });
  const { id } = await server.notify({ user: 'ann', event: 'e', ack: 2 });
  expect(await receiver.events(1)).toMatchObject([{ user: 'ann', notification: { id } }]);
});

import type { ServerResponse } from 'node:http';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from '@jest/globals';
import { MemoryStores } from '../../src/storage/memory.js';
import type { Lease } from '../../src/storage/store.js';
import type { WebhookEvent } from '../../src/webhooks/event.js';
import { connect } from '../support/client.js';
import { reportOf } from '../support/health.js';
import { type Answer, type Delivery, TAKEN, WebhookReceiver } from '../support/receiver.js';
import { startServer } from '../support/server.js';
import { Sending, untilSo } from './sending.js';

const EVENTS = 250;
const REQUESTS = 3;
const TIMEOUT_MS = 300;

setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

/** Bytes as they are, instead of what `response` would write. */
function raw(response: ServerResponse, text: string): void {
  response.socket?.write(text);
}

/** The first of the repeated requests gets one answer, the others are taken. */
function firstEach(answer: Answer): Answer {
  const seen = new Set<string>();
  return (response, delivery) => {
    if (seen.has(delivery.id)) return TAKEN(response, delivery);
    seen.add(delivery.id);
    answer(response, delivery);
  };
}

function roomsOf(delivery: Delivery | undefined): unknown[] {
  return delivery?.events.map(({ room }) => room) ?? [];
}

/** The requests without those that repeat the one before. Fails if a repetition is not the same. */
function withoutRepeats(deliveries: readonly Delivery[]): Delivery[] {
  const first: Delivery[] = [];
  for (const delivery of deliveries) {
    const last = first.at(-1);
    if (last?.id === delivery.id) expect(delivery.events).toEqual(last.events);
    else first.push(delivery);
  }
  expect(new Set(first.map(({ id }) => id)).size).toBe(first.length);
  return first;
}

/** Checks what is so of all requests, and that they have these events. */
function check(receiver: WebhookReceiver, rooms: readonly string[]): void {
  const first = withoutRepeats(receiver.deliveries);
  expect(first.flatMap(roomsOf)).toEqual(rooms);
  for (const { events } of first) expect(events.length).toBeLessThanOrEqual(100);
  expect(receiver.forged).toEqual([]);
  expect(receiver.mostAtOnce).toBe(1);
}

const REFUSALS: Record<string, Answer> = {
  'answers 500': response => response.writeHead(500).end('an error page'),
  'answers 404 with a giant page': response => response.writeHead(404).end('x'.repeat(1e6)),
  'answers nothing': () => undefined,
  'answers half a head and then nothing': response => raw(response, 'HTTP/1.1 200 OK\r\nContent-Le'),
  'answers half a head and hangs up': response => response.socket?.end('HTTP/1.1 200 OK\r\nContent-Le'),
  'hangs up': response => void response.socket?.destroy(),
  'resets the connection': response => void response.socket?.resetAndDestroy(),
  'does not speak HTTP': response => response.socket?.end('220 mail.example.com ESMTP\r\n'),
};

const TAKINGS: Record<string, Answer> = {
  'answers 200 with a body that stops in the middle': response => {
    response.writeHead(200, { 'content-length': '1000' }).write('half');
  },
  'answers 200 with a body that breaks off': response => {
    response.writeHead(200, { 'content-length': '1000' });
    response.write('half', () => response.socket?.destroy());
  },
  'answers 200 with a body without an end': response => {
    const more = () => response.write('x'.repeat(64 * 1024));
    response.writeHead(200).on('drain', more);
    more();
  },
};

describe('all events arrive in order, and a request is repeated as it was, if the receiver', () => {
  it.each(Object.entries(REFUSALS))('first %s', async (_how, answer) => {
    const receiver = await WebhookReceiver.start();
    receiver.answer = firstEach(answer);
    const sending = new Sending(receiver.url, { timeoutMs: TIMEOUT_MS });
    const rooms = await sending.tell(EVENTS);
    sending.sender.start();
    await receiver.events(EVENTS);
    check(receiver, rooms);
    expect(receiver.deliveries).toHaveLength(2 * REQUESTS);
    await untilSo(() => sending.sender.status.taken === EVENTS);
    expect(sending.sender.status).toEqual({
      sending: true,
      waiting: 0,
      taken: EVENTS,
      failed: 3,
      dropped: 0,
    });
  });

  it('is not there at first', async () => {
    const receiver = await WebhookReceiver.start();
    await receiver.stop();
    const sending = new Sending(receiver.url);
    sending.sender.start();
    const rooms = await sending.tell(EVENTS);
    await untilSo(() => sending.sender.status.failed >= 3);
    expect(sending.sender.status).toMatchObject({ waiting: EVENTS, taken: 0 });
    expect(sending.refusals).toHaveLength(1);
    await receiver.start();
    await receiver.events(EVENTS);
    check(receiver, rooms);
  });

  it('goes away again and again', async () => {
    const receiver = await WebhookReceiver.start();
    const sending = new Sending(receiver.url);
    sending.sender.start();
    const rooms: string[] = [];
    for (let times = 1; times <= 3; times++) {
      await receiver.stop();
      const { failed } = sending.sender.status;
      rooms.push(...(await sending.tell(EVENTS)));
      await untilSo(() => sending.sender.status.failed > failed);
      await receiver.start();
      await receiver.events(times * EVENTS);
    }
    check(receiver, rooms);
  });

  it('is slow: meanwhile nothing else is sent, and then as much as fits', async () => {
    const receiver = await WebhookReceiver.start();
    const held: ServerResponse[] = [];
    receiver.answer = response => void held.push(response);
    const sending = new Sending(receiver.url);
    sending.sender.start();
    const rooms = await sending.tell(1);
    await receiver.until(() => held.length === 1);
    for (let count = 0; count < 20; count++) rooms.push(...(await sending.tell(10)));
    receiver.answer = TAKEN;
    held[0]?.writeHead(202).end();
    await receiver.events(200);
    check(receiver, rooms);
    expect(receiver.deliveries.map(({ events }) => events.length)).toEqual([1, 100, 100]);
  });

  it('hangs, also while garbage is collected', async () => {
    const receiver = await WebhookReceiver.start();
    receiver.answer = firstEach(() => collectGarbage());
    const sending = new Sending(receiver.url, { timeoutMs: 1000 });
    const rooms = await sending.tell(1);
    sending.sender.start();
    await receiver.until(() => receiver.deliveries.length === 1);
    await untilSo(() => {
      collectGarbage();
      return sending.sender.status.failed === 1;
    });
    expect(sending.sender.status.lastError?.reason).toBe('WEBHOOK_URL did not answer within 1 s.');
    await receiver.events(1);
    check(receiver, rooms);
  });
});

describe('if the stores fail for a while', () => {
  it('the events arrive soon after that, however long it was', async () => {
    const receiver = await WebhookReceiver.start();
    let holds = 0;
    const lease: Lease = {
      isHeld: true,
      async hold() {
        if (++holds <= 8) throw new Error('Redis is away');
        return true;
      },
      release: async () => undefined,
    };
    const sending = new Sending(receiver.url, { lease });
    const rooms = await sending.tell(1);
    sending.sender.start();
    await untilSo(() => holds === 8);
    const began = performance.now();
    await receiver.events(1);
    // With pauses that grow it would be about ten seconds.
    expect(performance.now() - began).toBeLessThan(3000);
    check(receiver, rooms);
    expect(sending.failures).toEqual(['Error: Redis is away']);
    expect(sending.sender.status.failed).toBe(0);
    expect(sending.refusals).toEqual([]);
  });
});

describe('what is answered with 2xx is taken, and not sent again, though the receiver', () => {
  it.each(Object.entries(TAKINGS))('%s', async (_how, answer) => {
    const receiver = await WebhookReceiver.start();
    receiver.answer = answer;
    const sending = new Sending(receiver.url);
    const rooms = await sending.tell(150);
    sending.sender.start();
    await untilSo(() => sending.sender.status.taken === 150);
    check(receiver, rooms);
    expect(receiver.deliveries).toHaveLength(2);
    expect(sending.sender.status).toMatchObject({ failed: 0, dropped: 0 });
  });
});

describe('a redirect', () => {
  it.each([301, 302, 303, 307, 308])('%d is not followed, and the events are not taken', async status => {
    const other = await WebhookReceiver.start();
    const receiver = await WebhookReceiver.start();
    receiver.answer = firstEach(response => response.writeHead(status, { location: other.url }).end());
    const sending = new Sending(receiver.url);
    const rooms = await sending.tell(1);
    sending.sender.start();
    await receiver.events(1);
    check(receiver, rooms);
    expect(receiver.deliveries).toHaveLength(2);
    expect(other.deliveries).toEqual([]);
    expect(sending.refusals).toEqual([`WEBHOOK_URL answered ${status}. Redirects are not followed.`]);
  });
});

describe('a request', () => {
  it('has half a megabyte at most, but always one event', async () => {
    const receiver = await WebhookReceiver.start();
    const sending = new Sending(receiver.url);
    const sizes = [...Array(30).fill(100_000), 2_000_000, 10];
    for (const [index, size] of sizes.entries())
      await sending.add({
        type: 'message',
        room: `room-${index}`,
        event: 'e',
        data: JSON.stringify('x'.repeat(size)),
        connection: 'c',
        user: null,
        notificationId: '1-0',
      });
    sending.sender.start();
    const taken = await receiver.events(sizes.length);
    expect(taken.map(({ data }) => String(data).length)).toEqual(sizes);
    const bytes = receiver.deliveries.map(({ headers }) => Number(headers['content-length']));
    expect(bytes.filter(size => size > 520 * 1024)).toHaveLength(1);
    expect(receiver.deliveries.length).toBeLessThan(12);
    expect(receiver.forged).toEqual([]);
  });

  it('that was under way when the process ended is the same in the next one, also if more events wait', async () => {
    const receiver = await WebhookReceiver.start();
    receiver.answer = () => undefined;
    const first = new Sending(receiver.url);
    const rooms = await first.tell(3);
    first.sender.start();
    await receiver.until(() => receiver.deliveries.length === 1);
    rooms.push(...(await first.tell(4)));
    await first.stop();
    receiver.answer = TAKEN;
    const second = new Sending(receiver.url, { stores: first.stores });
    second.sender.start();
    await receiver.events(7);
    check(receiver, rooms);
    expect(receiver.deliveries.map(({ events }) => events.length)).toEqual([3, 3, 4]);
  });

  it('keeps the lease while it is under way', async () => {
    const receiver = await WebhookReceiver.start();
    receiver.answer = () => undefined;
    let holds = 0;
    const lease: Lease = { isHeld: true, hold: async () => ++holds > 0, release: async () => undefined };
    const sending = new Sending(receiver.url, { lease });
    await sending.tell(1);
    sending.sender.start();
    await receiver.until(() => receiver.deliveries.length === 1);
    const before = holds;
    await untilSo(() => holds >= before + 2);
    expect(sending.sender.status.failed).toBe(0);
  });

  it('is broken off when another node has the lease', async () => {
    const receiver = await WebhookReceiver.start();
    receiver.answer = () => undefined;
    let isHeld = true;
    const lease = {
      get isHeld() {
        return isHeld;
      },
      hold: async () => isHeld,
      release: async () => undefined,
    };
    const sending = new Sending(receiver.url, { lease });
    await sending.tell(1);
    sending.sender.start();
    await receiver.until(() => receiver.deliveries.length === 1);
    isHeld = false;
    await untilSo(() => sending.sender.status.failed === 1);
    expect(sending.refusals).toEqual(['Another node sends now.']);
    expect(sending.sender.status.sending).toBe(false);
  });
});

describe('events are given up, and counted,', () => {
  it('when they are too old', async () => {
    const receiver = await WebhookReceiver.start();
    receiver.answer = response => response.writeHead(500).end();
    const sending = new Sending(receiver.url, { retentionSeconds: 60 });
    sending.sender.start();
    await sending.tell(150);
    await receiver.until(() => receiver.deliveries.length >= 2);
    sending.now += 50_000;
    const kept = await sending.tell(150);
    // The first are 60 s old: not yet too old.
    sending.now += 10_000;
    const { length } = receiver.deliveries;
    await receiver.until(() => receiver.deliveries.length >= length + 2);
    await untilSo(() => sending.sender.status.waiting === 300);
    expect(sending.sender.status.dropped).toBe(0);
    sending.now += 1;
    await untilSo(() => sending.sender.status.dropped > 0);
    receiver.answer = TAKEN;
    await receiver.events(150);
    expect(receiver.taken.map(({ room }) => room)).toEqual(kept);
    await untilSo(() => sending.sender.status.taken === 150);
    expect(sending.sender.status).toMatchObject({ dropped: 150, taken: 150, waiting: 0 });
  });

  it('when they have too many bytes: the oldest, and no more than must go', async () => {
    const receiver = await WebhookReceiver.start();
    await receiver.stop();
    // An event without data counts as 500 bytes.
    const sending = new Sending(receiver.url, { retentionBytes: 800 * 500 });
    sending.sender.start();
    const rooms = await sending.tell(1000);
    await untilSo(() => sending.sender.status.dropped > 0);
    rooms.push(...(await sending.tell(700)));
    await untilSo(() => sending.sender.status.dropped >= 900);
    expect(sending.sender.status).toMatchObject({ dropped: 900, waiting: 800 });
    await receiver.start();
    await receiver.events(800);
    expect(receiver.taken.map(({ room }) => room)).toEqual(rooms.slice(-800));
    await untilSo(() => sending.sender.status.taken === 800);
    expect(sending.sender.status).toMatchObject({ dropped: 900, waiting: 0 });
  });
});

describe('events that wait', () => {
  it('are counted in many turns of the event loop, however many they are', async () => {
    const receiver = await WebhookReceiver.start();
    await receiver.stop();
    const stores = new MemoryStores();
    const before = new Sending(receiver.url, { stores });
    await before.tell(5000);
    let turns = 0;
    const store = stores.open<WebhookEvent>('webhooks');
    const ranges: number[] = [];
    const range = store.range.bind(store);
    store.range = (...bounds) => {
      ranges.push(turns);
      return range(...bounds);
    };
    const next = () => {
      turns++;
      immediate = setImmediate(next);
    };
    let immediate = setImmediate(next);
    const sending = new Sending(receiver.url, { stores });
    sending.sender.start();
    await untilSo(() => sending.sender.status.waiting === 5000);
    clearImmediate(immediate);
    expect(ranges.length).toBeGreaterThan(5000 / 500);
    // The last page, which counts to the end, and the head of the queue are read in one.
    expect(new Set(ranges).size).toBeGreaterThanOrEqual(5000 / 500);
  });
});

describe('GET /health', () => {
  it('tells how webhooks fare, to who has a key', async () => {
    const receiver = await WebhookReceiver.start();
    receiver.answer = response => response.writeHead(503).end();
    const server = await startServer({ ...receiver.settings, WEBHOOK_EVENTS: 'connection.opened' });
    await connect(server.ws('/ws'));
    await receiver.until(() => receiver.deliveries.length >= 2);
    expect((await reportOf(server)).webhooks).toEqual({
      sending: true,
      waiting: 1,
      taken: 0,
      failed: expect.any(Number),
      dropped: 0,
      lastError: { at: expect.any(String), reason: 'WEBHOOK_URL answered 503.' },
    });
    receiver.answer = TAKEN;
    await receiver.events(1);
    let report = await reportOf(server);
    while (report.webhooks?.taken !== 1) report = await reportOf(server);
    expect(report.webhooks).toMatchObject({ waiting: 0, taken: 1, dropped: 0 });
    expect(report.webhooks).not.toHaveProperty('lastError');
    expect(await (await fetch(`${server.url}/health`)).json()).not.toHaveProperty('webhooks');
  });
});

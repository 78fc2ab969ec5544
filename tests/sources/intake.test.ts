import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { pino } from 'pino';
import { type Notification, notificationParser } from '../../src/model/notification.js';
import { unavailable } from '../../src/model/problem.js';
import { Intake, Stopped } from '../../src/sources/intake.js';

const LIMITS = { maxBytes: 1000, retentionSeconds: 600, now: Date.now };

/** An intake with a journal that fails when `fails` says so; what was published and logged, in order. */
function make(fails: () => boolean = () => false, refused: 'not taken' | 'taken all the same' = 'not taken') {
  const published: string[] = [];
  const keys: (string | undefined)[] = [];
  const logged: { level: number; msg: string; reason?: string; source?: string }[] = [];
  const known = new Set<string>();
  const postroom = {
    async accept(notification: Notification) {
      const isRefused = fails();
      if (isRefused && refused === 'not taken') throw unavailable('no room on the disk', 1);
      const { key } = notification;
      const duplicate = key !== undefined && known.has(key);
      if (key !== undefined) known.add(key);
      if (!duplicate) published.push(notification.data);
      if (isRefused) throw unavailable('Redis did not answer in time', 1);
      keys.push(key);
      return { id: '1-0' as const, connections: 0, duplicate };
    },
  };
  const intake = new Intake({
    name: 'test',
    postroom,
    parse: notificationParser(LIMITS),
    maxNotificationBytes: LIMITS.maxBytes,
    sharedJournal: true,
    now: () => 0,
    log: pino({ level: 'debug' }, { write: line => logged.push(JSON.parse(line)) }),
  });
  return { intake, published, keys, logged };
}

function body(data: unknown, fields: object = {}): string {
  return JSON.stringify({ room: 'a', event: 'e', data, ...fields });
}

describe('the intake', () => {
  it('publishes what is right, and gives back what is not, with the reason', async () => {
    const { intake, published } = make();
    const messages = [{ body: body(1) }, { body: '{' }, { body: body(2, { ttl: 'x' }) }, { body: body(3) }];
    const refused = await intake.take(messages);
    expect(published).toEqual(['1', '3']);
    expect(refused.map(({ message }) => message)).toEqual([messages[1], messages[2]]);
    expect(refused[0]).toMatchObject({ body: '{', reason: expect.stringMatching(/not valid JSON/) });
    expect(refused[1]).toMatchObject({ body: messages[2]?.body, reason: expect.stringMatching(/ttl/) });
    expect(intake).toMatchObject({ taken: 2, refused: 2 });
  });

  it('gives back of a batch those that are wrong, as a batch, and tells the first reasons', async () => {
    const { intake, published } = make();
    const wrong = Array.from({ length: 8 }, () => ({ room: 'a' }));
    const batch = JSON.stringify([JSON.parse(body(1)), ...wrong, JSON.parse(body(2))]);
    const [refused] = await intake.take([{ body: batch }]);
    expect(published).toEqual(['1', '2']);
    expect(JSON.parse(String(refused?.body))).toEqual(wrong);
    expect(refused?.reason).toMatch(/event.* and 3 more$/);
  });

  it('takes the key beside a message where the body has none, in a batch with the index', async () => {
    const { intake, keys } = make();
    const key = `${'long topic '.repeat(30)}:0:17`;
    await intake.take([
      { body: body(1), key },
      { body: body(2, { key: 'own' }), key: 'beside' },
      { body: `[${body(3)},${body(4, { key: 'own too' })}]`, key: 'beside' },
    ]);
    expect(keys).toEqual([key, 'own', 'beside:0', 'own too']);
  });

  it('makes a key up where there is none, for a journal may have taken what it seemed to refuse', async () => {
    let first = true;
    const { intake, published } = make(() => {
      const isFirst = first;
      first = false;
      return isFirst;
    }, 'taken all the same');
    await intake.take([{ body: body(1) }, { body: body(2) }]);
    expect(published).toEqual(['1', '2']);
  });

  it('refuses a message larger than a batch may be without looking into it', async () => {
    const { intake } = make();
    const [refused] = await intake.take([{ body: Buffer.alloc(2_000_000, 0x20) }]);
    expect(refused?.reason).toMatch(/2000000 bytes; the limit is 1000000/);
  });

  it('logs what is wrong once, however often it is tried, and once that it is over', async () => {
    let failures = 4;
    const { intake, published, logged } = make(() => failures-- > 0);
    await intake.take([{ body: body(1) }]);
    expect(published).toEqual(['1']);
    const told = logged.filter(({ level }) => Number(level) > 20);
    expect(told.map(({ msg, source }) => [source, msg])).toEqual([
      ['test', 'the journal does not take it'],
      ['test', 'the journal takes them again'],
    ]);
    expect(logged[0]?.reason).toBe('no room on the disk');
    expect(intake.lastError).toEqual({
      at: 0,
      reason: 'the journal does not take it: no room on the disk',
    });
  });

  it('rejects what waits for the journal when the server stops', async () => {
    const { intake } = make(() => true);
    const taking = intake.take([{ body: body(1) }]);
    intake.stop();
    await expect(taking).rejects.toBeInstanceOf(Stopped);
    expect(intake.taken).toBe(0);
  });

  it('whenever the journal fails: everything once, in order, as long as a failure takes the rest of a turn along', async () => {
    const rounds = fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(rounds, async failing => {
        let call = 0;
        let down = failing.shift() ?? Number.POSITIVE_INFINITY;
        const { intake, published } = make(() => {
          // After one failure all calls fail, until the turn is over: a commit fails as a whole.
          if (call++ < down) return false;
          setImmediate(() => {
            call = 0;
            down = failing.shift() ?? Number.POSITIVE_INFINITY;
          });
          return true;
        });
        await intake.take([0, 1, 2].map(data => ({ body: body(data) })));
        await intake.take([{ body: body(3) }]);
        expect(published).toEqual(['0', '1', '2', '3']);
      }),
      { numRuns: 20 },
    );
  }, 60_000);
});

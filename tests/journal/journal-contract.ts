import { EventEmitter, once } from 'node:events';
import { afterEach, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Follower, Journal } from '../../src/journal/journal.js';
import { compareMoments, type Moment, parseId } from '../../src/model/id.js';
import type { Entry, Notification } from '../../src/model/notification.js';
import { Problem } from '../../src/model/problem.js';
import type { Retention } from '../../src/model/retention.js';

export interface MakeOptions {
  readonly retention: Retention;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

const START = 1_763_856_000_000;
const RETENTION: Retention = { seconds: 600, bytes: 64 * 1024 * 1024 };

/** A notification with every field that it may carry; shared with the tests of each kind of journal. */
export function notification(data: string, fields: Partial<Notification> = {}): Notification {
  return {
    addresses: ['room:a'],
    event: 'e',
    data,
    except: [],
    key: undefined,
    ttl: undefined,
    ...fields,
  };
}

/** A follower that must not be skipped. */
export function following(deliver: (entry: Entry) => unknown): Follower {
  return {
    deliver: entry => void deliver(entry),
    skipped(until) {
      throw new Error(`entries up to ${until} were skipped`);
    },
  };
}

function momentOf(id: string): Moment {
  const moment = parseId(id);
  if (moment === undefined) throw new Error(`${id} is no id`);
  return moment;
}

/**
 * The promises of src/journal/journal.ts, for any implementation.
 * @param make returns a new journal that nothing was ever written to; closed by the suite
 * @param node the name of the node that appends, in a journal that nodes share: it may deliver a little after it
 * answers
 */
export function journalContract(
  kind: string,
  make: (options: MakeOptions) => Journal | Promise<Journal>,
  node?: string,
): void {
  const made: Journal[] = [];
  afterEach(async () => {
    for (const journal of made.splice(0)) await journal.close();
  });

  async function open(now: () => number = () => START) {
    const journal = await make({ retention: RETENTION, now });
    made.push(journal);
    const delivered: Entry[] = [];
    const arrivals = new EventEmitter();
    const begin = await journal.follow(
      following(entry => {
        delivered.push(entry);
        arrivals.emit(entry.id);
      }),
    );
    const append = async (notification: Notification) => {
      const appended = await journal.append(notification);
      const hasArrived = delivered.some(({ id }) => id === appended.id);
      if (node !== undefined && !hasArrived) await once(arrivals, appended.id);
      return appended;
    };
    return { journal, append, delivered, begin };
  }

  describe(`the ${kind} journal`, () => {
    it('tells its kind', async () => {
      expect((await open()).journal.kind).toBe(kind);
    });

    it('has delivered an entry, whole, by the time its append resolves', async () => {
      const { append, delivered } = await open();
      const full = notification('{"a":1.0,"b":"付款"}', {
        addresses: ['room:房间', 'user:42', 'connection:1.2', 'everyone'],
        event: 'paid ✓',
        except: ['3.4'],
        key: 'order-ä',
        ttl: 60,
      });
      const { id, duplicate } = await append(full);
      expect(duplicate).toBe(false);
      expect(delivered).toEqual([{ ...momentOf(id), id, ...(node && { node }), notification: full }]);
      const { id: next } = await append(notification('2', { ttl: 0 }));
      expect(delivered[1]).toEqual({
        ...momentOf(next),
        id: next,
        ...(node && { node }),
        notification: notification('2', { ttl: 0 }),
      });
    });

    it('gives calls that do not wait for each other ids in their order', async () => {
      const { append, delivered } = await open();
      const texts = Array.from({ length: 500 }, (_, index) => String(index));
      const appended = await Promise.all(texts.map(text => append(notification(text))));
      expect(delivered.map(entry => entry.notification.data)).toEqual(texts);
      expect(delivered.map(entry => entry.id)).toEqual(appended.map(({ id }) => id));
      expect(appended.some(({ duplicate }) => duplicate)).toBe(false);
    });

    it('begins before its first entry', async () => {
      const { append, begin } = await open();
      const { id } = await append(notification('1'));
      expect(compareMoments(momentOf(id), momentOf(begin))).toBeGreaterThan(0);
    });

    it('only ever gives greater ids, whatever the clock does', async () => {
      const steps = fc.array(fc.integer({ min: -5000, max: 5000 }), { minLength: 1, maxLength: 20 });
      await fc.assert(
        fc.asyncProperty(steps, async steps => {
          let now = START;
          const { journal, append, delivered, begin } = await open(() => now);
          for (const step of steps) {
            now += step;
            await append(notification(String(step)));
          }
          const moments = [begin, ...delivered.map(entry => entry.id)].map(momentOf);
          expect(moments).toHaveLength(steps.length + 1);
          moments.slice(1).forEach((moment, index) => {
            expect(compareMoments(moment, moments[index] ?? moment)).toBeGreaterThan(0);
          });
          await journal.close();
        }),
        { numRuns: 20 },
      );
    });

    it('appends nothing for a key that was there, and answers the first id', async () => {
      const { append, delivered, journal } = await open();
      const first = await append(notification('1', { key: 'k' }));
      await append(notification('2', { key: 'other' }));
      const again = await append(notification('3', { key: 'k', except: ['1.1'], ttl: 0 }));
      expect(again).toEqual({ id: first.id, duplicate: true });
      expect(await journal.firstWith(notification('4', { key: 'k' }))).toBe(first.id);
      expect(await journal.firstWith(notification('4', { key: 'new' }))).toBeUndefined();
      expect(await journal.firstWith(notification('4'))).toBeUndefined();
      const reused = notification('4', { key: 'k', event: 'another' });
      await expect(journal.firstWith(reused)).rejects.toMatchObject({ code: 'key_reused' });
      expect(delivered.map(entry => entry.notification.data)).toEqual(['1', '2']);
    });

    it('refuses a key that was used for another event or other addresses, and names the first', async () => {
      const { append, delivered } = await open();
      const addresses = ['room:a', 'user:b'] as const;
      const pending = append(notification('1', { key: 'k', addresses }));
      const others: Partial<Notification>[] = [
        { event: 'another' },
        { addresses: ['room:a'] },
        { addresses: ['room:a', 'user:b', 'everyone'] },
        { addresses: ['room:a', 'room:b'] },
      ];
      const refusals = async () => {
        for (const other of others) {
          const refusal = await append(notification('2', { key: 'k', addresses, ...other })).catch(
            (error: unknown) => error,
          );
          expect(refusal).toBeInstanceOf(Problem);
          expect(refusal).toMatchObject({ code: 'key_reused', status: 422 });
          expect(String(refusal)).toContain((await pending).id);
        }
      };
      // Once while the first is under way, and once when it is written.
      await refusals();
      await pending;
      await refusals();
      const { id } = await pending;
      const same = notification('3', { key: 'k', addresses: ['user:b', 'room:a'] });
      expect(await append(same)).toMatchObject({ id, duplicate: true });
      expect(delivered.map(entry => entry.notification.data)).toEqual(['1']);
    });

    it('lets one of many at the same time with one key through', async () => {
      const { append, delivered } = await open();
      const appended = await Promise.all(
        Array.from({ length: 20 }, (_, index) => append(notification(String(index), { key: 'k' }))),
      );
      expect(appended.map(({ duplicate }) => duplicate)).toEqual([false, ...Array(19).fill(true)]);
      expect(new Set(appended.map(({ id }) => id)).size).toBe(1);
      expect(delivered.map(entry => entry.notification.data)).toEqual(['0']);
    });

    it('takes keys for what they are, and no key for none', async () => {
      const { append } = await open();
      const keys = [
        '__proto__',
        'constructor',
        'K',
        'k',
        'ä',
        'a\u0308',
        '付'.repeat(200),
        undefined,
        undefined,
      ];
      for (const key of keys)
        expect(await append(notification('1', { key }))).toMatchObject({ duplicate: false });
    });

    it('does all of this in any mix', async () => {
      const key = fc.option(fc.constantFrom('a', 'b', 'c'), { nil: undefined });
      const bursts = fc.array(fc.array(key, { maxLength: 6 }), { maxLength: 6 });
      await fc.assert(
        fc.asyncProperty(bursts, async bursts => {
          const { journal, append, delivered } = await open();
          const firstIds = new Map<string, string>();
          const expected: string[] = [];
          for (const burst of bursts) {
            for (const [index, { id, duplicate }] of (
              await Promise.all(burst.map(key => append(notification('1', { key }))))
            ).entries()) {
              const key = burst[index];
              expect(duplicate).toBe(key !== undefined && firstIds.has(key));
              if (duplicate) expect(id).toBe(firstIds.get(key ?? ''));
              else expected.push(id);
              if (key !== undefined && !duplicate) firstIds.set(key, id);
            }
            expect(delivered.map(entry => entry.id)).toEqual(expected);
          }
          await journal.close();
        }),
        { numRuns: 30 },
      );
    });

    it('is available from the start to the end, and not behind', async () => {
      const { journal, append } = await open();
      expect(journal.status()).toMatchObject({ available: true, lagMs: 0 });
      await append(notification('1'));
      expect(journal.status()).toMatchObject({ available: true, lagMs: 0 });
      await journal.close();
      expect(journal.status().available).toBe(false);
    });

    it('finishes what was appended when it is closed, which may be done twice', async () => {
      const { journal, delivered } = await open();
      const appending = Array.from({ length: 50 }, (_, index) => journal.append(notification(String(index))));
      await Promise.all([journal.close(), journal.close()]);
      const appended = await Promise.all(appending);
      expect(delivered.map(entry => entry.id)).toEqual(appended.map(({ id }) => id));
      await journal.close();
    });

    it('refuses with a Problem that says what to do once it is closed, and delivers nothing more', async () => {
      const { journal, delivered } = await open();
      await journal.close();
      const refusal = await journal.append(notification('late')).catch((error: unknown) => error);
      if (!(refusal instanceof Problem)) throw new Error(`it answered ${JSON.stringify(refusal)}`);
      expect(refusal.code).toBe('unavailable');
      expect(refusal.message).not.toBe('');
      expect(delivered).toEqual([]);
    });
  });
}

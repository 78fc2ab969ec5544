import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Window } from '../../src/core/window.js';
import { formatId } from '../../src/model/id.js';
import type { Entry } from '../../src/model/notification.js';

const START = 1_763_856_000_000;

function entry(sequence: number, ttl: number | undefined, room = 'a'): Entry {
  const moment = { time: START, sequence };
  const notification = {
    addresses: [`room:${room}`] as const,
    event: 'e',
    data: '1',
    except: [],
    key: undefined,
    ttl,
  };
  return { ...moment, id: formatId(moment), notification };
}

function all(
  positions: { first: number; at(position: number): number | undefined; end: number } | undefined,
) {
  const found: number[] = [];
  for (let at = positions?.first ?? 0; at < (positions?.end ?? 0); at++) found.push(positions?.at(at) ?? -1);
  return found;
}

describe('what of the past may be replayed', () => {
  it('is all of it where nothing has a ttl', () => {
    const window = new Window({ seconds: 600, bytes: 1e9 }, () => START);
    for (let n = 0; n < 5; n++) window.add(entry(n, undefined));
    expect(window.replayableOf('room:a')).toBe(window.positionsOf('room:a'));
  });

  it('leaves out what is over, once for all readers, when one of them has passed over it', () => {
    let now = START;
    const window = new Window({ seconds: 600, bytes: 1e9 }, () => now);
    for (let n = 0; n < 1000; n++) window.add(entry(n, n % 10 === 0 ? undefined : 5));
    now += 5000;
    expect(all(window.replayableOf('room:a'))).toHaveLength(1000);
    window.passOver('room:a', 900);
    expect(all(window.replayableOf('room:a'))).toEqual([...Array(100).keys()].map(n => n * 10));
    // A slow connection that was open before still gets them.
    expect(all(window.positionsOf('room:a'))).toHaveLength(1000);
  });

  it('never has what was over when it came', () => {
    const window = new Window({ seconds: 600, bytes: 1e9 }, () => START);
    window.add(entry(0, undefined));
    window.add(entry(1, 0));
    window.add(entry(2, 1));
    expect(all(window.replayableOf('room:a'))).toEqual([0, 2]);
  });

  it('has whatever is not over, in any mix of ttl, time, trimming and passing over', () => {
    const step = fc.oneof(
      fc.record({
        do: fc.constant('add' as const),
        ttl: fc.option(fc.nat(4), { nil: undefined }),
        room: fc.constantFrom('a', 'b'),
      }),
      fc.record({ do: fc.constant('wait' as const), seconds: fc.nat(3) }),
      fc.record({ do: fc.constant('pass' as const), count: fc.nat(20), room: fc.constantFrom('a', 'b') }),
      fc.record({ do: fc.constant('trim' as const) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), steps => {
        let now = START;
        const window = new Window({ seconds: 600, bytes: 6000 }, () => now);
        let sequence = 0;
        for (const one of steps) {
          if (one.do === 'add') {
            const added = entry(sequence++, one.ttl, one.room);
            window.add({ ...added, time: now, id: formatId({ time: now, sequence }) });
          } else if (one.do === 'wait') now += one.seconds * 1000;
          else if (one.do === 'pass') window.passOver(`room:${one.room}`, one.count);
          else window.trim();
          for (const address of ['room:a', 'room:b'] as const) {
            const replayable = all(window.replayableOf(address));
            const lasting = all(window.positionsOf(address)).filter(position => {
              const found = window.entryAt(position);
              return found !== undefined && !window.isOver(found);
            });
            expect(replayable.filter(position => lasting.includes(position))).toEqual(lasting);
            expect(replayable).toEqual([...replayable].sort((a, b) => a - b));
            for (const position of replayable) expect(window.entryAt(position)).toBeDefined();
          }
        }
      }),
    );
  });
});

describe('trimming', () => {
  it('takes so much at a time that a turn has room for it, and says when there is more', () => {
    let now = START;
    const window = new Window({ seconds: 10, bytes: 1e9 }, () => now);
    for (let n = 0; n < 25_000; n++) window.add(entry(n, undefined));
    now += 20_000;
    let rounds = 1;
    while (!window.trim()) rounds++;
    expect(rounds).toBeGreaterThan(2);
    expect(window.entries).toBe(0);
  });
});

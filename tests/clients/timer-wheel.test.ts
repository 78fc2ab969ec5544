import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { TimerWheel } from '../../src/clients/timer-wheel.js';

beforeEach(() => {
  jest.useFakeTimers();
});

afterEach(() => {
  jest.useRealTimers();
});

/** A timer that counts how often it was due. */
function timed(next: () => number | undefined) {
  const one = {
    dueAt: 0,
    times: 0,
    due() {
      one.times++;
      return next();
    },
  };
  return one;
}

function neverFails(error: unknown): never {
  throw error;
}

describe('a timer wheel', () => {
  it('goes by a timer of its own, from start to stop', () => {
    const wheel = new TimerWheel(neverFails);
    const one = timed(() => 2);
    wheel.add(one, 2);
    jest.advanceTimersByTime(10_000);
    expect(one.times).toBe(0);
    wheel.start();
    jest.advanceTimersByTime(1999);
    expect(one.times).toBe(0);
    jest.advanceTimersByTime(1);
    expect(one.times).toBe(1);
    jest.advanceTimersByTime(4000);
    expect(one.times).toBe(3);
    wheel.stop();
    jest.advanceTimersByTime(10_000);
    expect(one.times).toBe(3);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('keeps no process alive', () => {
    const set = jest.spyOn(globalThis, 'setInterval');
    new TimerWheel(neverFails).start();
    expect(set.mock.results.map(({ value }) => (value as NodeJS.Timeout).hasRef())).toEqual([false]);
  });

  it('calls each when it is due, until it says never again', () => {
    const wheel = new TimerWheel(neverFails);
    const once = timed(() => undefined);
    const removed = timed(() => 1);
    wheel.add(once, 0.5);
    wheel.add(removed, 1);
    wheel.remove(removed);
    wheel.tick();
    wheel.tick();
    expect([once.times, removed.times]).toEqual([1, 0]);
  });

  it('tells of an error of one, and gives the others their turn', () => {
    const errors: unknown[] = [];
    const wheel = new TimerWheel(error => errors.push(error));
    const broken = timed(() => {
      throw new Error('broken');
    });
    const next = timed(() => 1);
    wheel.add(broken, 1);
    wheel.add(next, 1);
    wheel.tick();
    wheel.tick();
    expect(errors).toEqual([new Error('broken')]);
    expect([broken.times, next.times]).toEqual([1, 2]);
  });
});

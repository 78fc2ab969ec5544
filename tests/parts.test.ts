import { describe, expect, it } from '@jest/globals';
import { Parts } from '../src/parts.js';

describe('the parts of a server', () => {
  function part(name: string, events: string[], fails: 'start' | 'stop' | undefined = undefined) {
    const act = (what: 'start' | 'stop') => async () => {
      await new Promise(resolve => setImmediate(resolve));
      events.push(`${what} ${name}`);
      if (what === fails) throw new Error(`${name} cannot ${what}`);
    };
    return { start: act('start'), stop: act('stop') };
  }

  it('start in order and stop in reverse, those of an inner list together', async () => {
    const events: string[] = [];
    const parts = new Parts([
      part('a', events),
      [part('b', events), part('c', events)],
      { stop: () => undefined },
    ]);
    await parts.start();
    expect(events.splice(0)).toEqual(['start a', 'start b', 'start c']);
    await parts.stop();
    expect(events).toEqual(['stop b', 'stop c', 'stop a']);
  });

  it('are all stopped when one cannot start, once those beside it have started', async () => {
    const events: string[] = [];
    const slow = part('slow', events);
    const parts = new Parts([part('a', events), [part('b', events, 'start'), slow], part('never', events)]);
    await expect(parts.start()).rejects.toThrow('b cannot start');
    expect(events.slice(0, 3)).toEqual(['start a', 'start b', 'start slow']);
    expect(events.slice(3)).toEqual(['stop never', 'stop b', 'stop slow', 'stop a']);
  });

  it('are all stopped when one cannot stop, and the first error is told', async () => {
    const events: string[] = [];
    const parts = new Parts([part('a', events), part('b', events, 'stop'), part('c', events, 'stop')]);
    await expect(parts.stop()).rejects.toThrow('c cannot stop');
    expect(events).toEqual(['stop c', 'stop b', 'stop a']);
  });
});

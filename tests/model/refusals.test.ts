import { describe, expect, it } from '@jest/globals';
import { pino } from 'pino';
import { Refusals } from '../../src/model/refusals.js';

const START = 1_763_856_000_000;

/** Refusals with a clock that the test sets, and the lines that were logged. */
function refusalsAt(start = START) {
  const lines: { fields: Record<string, unknown>; message: string }[] = [];
  const clock = { now: start };
  const log = {
    warn: (fields: Record<string, unknown>, message: string) => {
      lines.push({ fields, message });
    },
  };
  return { refusals: new Refusals(log, () => clock.now), lines, clock };
}

/** A field as it is logged. */
function logged(value: unknown): unknown {
  const { refusals, lines } = refusalsAt();
  refusals.refused('unknown path', { value });
  return lines[0]?.fields.value;
}

describe('what is refused', () => {
  it('is logged with its kind and fields', () => {
    const { refusals, lines } = refusalsAt();
    refusals.refused('wrong key', { address: '10.0.0.1', port: 80, known: false, origin: undefined });
    expect(lines).toEqual([
      {
        fields: { address: '10.0.0.1', port: 80, known: false, origin: undefined, kind: 'wrong key' },
        message: 'refused',
      },
    ]);
    expect(lines[0]?.fields).not.toHaveProperty('unlogged');
  });

  it('is logged once in ten seconds, then with how many were not', () => {
    const { refusals, lines, clock } = refusalsAt();
    for (let count = 0; count < 1000; count++) refusals.refused('bad token', { count });
    clock.now += 9_999;
    refusals.refused('bad token', { count: 1000 });
    expect(lines).toHaveLength(1);
    clock.now += 1;
    refusals.refused('bad token', { count: 1001 });
    refusals.refused('bad token', { count: 1002 });
    expect(lines.map(({ fields }) => fields)).toEqual([
      { kind: 'bad token', count: 0 },
      { kind: 'bad token', count: 1001, unlogged: 1000 },
    ]);
  });

  it('keeps the count that was held back for the next line, however late it comes', () => {
    const { refusals, lines, clock } = refusalsAt();
    for (let count = 0; count < 8; count++) refusals.refused('refused room', {});
    clock.now += 24 * 60 * 60 * 1000;
    refusals.refused('refused room', {});
    clock.now += 10_000;
    refusals.refused('refused room', {});
    expect(lines.map(({ fields }) => fields.unlogged)).toEqual([undefined, 7, undefined]);
  });

  it('of one kind takes nothing from another', () => {
    const { refusals, lines } = refusalsAt();
    refusals.refused('wrong key', {});
    refusals.refused('wrong key', {});
    refusals.refused('refused origin', {});
    expect(lines.map(({ fields }) => fields)).toEqual([{ kind: 'wrong key' }, { kind: 'refused origin' }]);
  });

  it('is logged again at once where the clock was set back', () => {
    const { refusals, lines, clock } = refusalsAt();
    refusals.refused('wrong key', {});
    refusals.refused('wrong key', {});
    clock.now -= 60 * 60 * 1000;
    refusals.refused('wrong key', {});
    expect(lines.map(({ fields }) => fields.unlogged)).toEqual([undefined, 1]);
  });

  it('is counted by its kind, logged or not', () => {
    const { refusals } = refusalsAt();
    expect(refusals.counts).toEqual({
      'wrong key': 0,
      'bad token': 0,
      'refused origin': 0,
      'invalid notification': 0,
      'unknown path': 0,
      'refused room': 0,
      'refused publish': 0,
      'failed call': 0,
    });
    for (let count = 0; count < 5; count++) refusals.refused('wrong key', {});
    refusals.refused('invalid notification', {});
    expect(refusals.counts).toMatchObject({ 'wrong key': 5, 'invalid notification': 1, 'bad token': 0 });
  });
});

describe('what a stranger wrote', () => {
  it('is cut at 200 characters', () => {
    expect(logged('x'.repeat(200))).toBe('x'.repeat(200));
    expect(logged('x'.repeat(201))).toBe(`${'x'.repeat(199)}…`);
    expect(String(logged('x'.repeat(1_000_000)))).toHaveLength(200);
  });

  it.each([
    ['a line break', 'a\r\nb', 'a��b'],
    ['an escape sequence', '\u001b[2Ja', '�[2Ja'],
    ['a C1 control', 'a\u009bb', 'a�b'],
    ['a zero', 'a\0b', 'a�b'],
    ['line separators', 'a\u2028b\u2029', 'a�b�'],
    ['an override of the direction', 'a\u202eb', 'a�b'],
    ['half of a pair', 'a\ud800b', 'a�b'],
    ['letters of any script', 'ä新闻😀', 'ä新闻😀'],
  ])('has its unseen characters replaced: %s', (_what, text, shown) => expect(logged(text)).toBe(shown));

  it('cut in the middle of a pair is still well-formed', () => {
    expect(logged(`${'x'.repeat(198)}😀${'x'.repeat(9)}`)).toBe(`${'x'.repeat(198)}�…`);
  });

  it.each<[string, unknown]>([
    ['a long list', Array.from({ length: 1000 }, () => 'room\n')],
    ['a deep object', JSON.parse(`${'{"a":'.repeat(1000)}1${'}'.repeat(1000)}`)],
    ['a list of long texts', ['\n'.repeat(10_000)]],
    ['an error', new Error('a\nb'.repeat(1000))],
    ['a big number', 10n ** 500n],
  ])('is one short text, whatever it is: %s', (_what, value) => {
    const text = logged(value);
    expect(text).toEqual(expect.any(String));
    expect(String(text).length).toBeLessThanOrEqual(200);
    expect(text).not.toMatch(/[\p{Cc}]/u);
  });

  it('cannot take the place of the kind', () => {
    const { refusals, lines } = refusalsAt();
    refusals.refused('wrong key', { kind: 'forged' });
    expect(lines[0]?.fields.kind).toBe('wrong key');
  });

  it('is one line of the real log', () => {
    const written: string[] = [];
    const refusals = new Refusals(pino({ base: null }, { write: line => written.push(line) }), () => START);
    refusals.refused('unknown path', { path: '/\n{"level":60,"msg":"forged"}\u001b[0m' });
    expect(written).toHaveLength(1);
    expect(written[0]?.trimEnd()).not.toMatch(/\p{Cc}/u);
    expect(JSON.parse(written[0] ?? '')).toMatchObject({ level: 40, kind: 'unknown path', msg: 'refused' });
  });
});

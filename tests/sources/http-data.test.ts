import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { connect } from '../support/client.js';
import { jsonSpace, jsonText } from '../support/json-text.js';
import { expectProblem, post } from '../support/notify.js';
import { notifyRequest, withSocket } from '../support/raw.js';
import { startServer } from '../support/server.js';

async function serverAndListener() {
  // A generated text may be longer than the default allows.
  const server = await startServer({ MAX_NOTIFICATION_BYTES: '1000000' });
  const client = await connect(server.ws('/?room=public.a'));
  await client.nextOf('subscribed');
  /** Posts `data` in a body. Returns the text in the frame that stands in its position. */
  const through = async (data: string, body = `{"room":"public.a","event":"e","data":${data}}`) => {
    const response = await post(server, body);
    expect(response.body).toMatchObject({ connections: 1 });
    const frame = await client.nextText();
    JSON.parse(frame);
    return /^\{"type":"notification","id":"[\d-]+","room":"public\.a","event":"e","data":(.*)\}$/s.exec(
      frame,
    )?.[1];
  };
  return { server, client, through };
}

describe('data', () => {
  it.each([
    ['an integer beyond 2^53', '9007199254740993'],
    ['1.0 and other numbers', '[1.0,1e2,-0,0.10,1E400]'],
    ['the order of keys', '{"b":1,"a":2,"10":3,"9":4}'],
    ['escapes', '"\\u00e4\\/\\n\\ud83d\\ude00"'],
    ['half a surrogate pair, escaped', '"\\ud800"'],
    ['white space', '{ "a" :\t[ 1 ,\r\n 2 ] }'],
    ['duplicate members', '{"a":1,"a":2}'],
    ['__proto__', '{"__proto__":{"x":1},"constructor":null}'],
    ['brackets and quotes in strings', '{"}":"]\\"}","\\\\":"\\\\"}'],
    ['U+2028', '"\u2028\u2029"'],
    ['an empty string', '""'],
  ])('arrives as it was posted: %s', async (_what, data) => {
    const { through } = await serverAndListener();
    expect(await through(data)).toBe(data);
  });

  it('arrives byte for byte, whatever JSON value it is and wherever it stands', async () => {
    const { through } = await serverAndListener();
    const fields = ['"room":"public.a"', '"event":"e"'];
    await fc.assert(
      fc.asyncProperty(jsonText, fc.nat(2), jsonSpace, jsonSpace, async (data, place, before, after) => {
        const members = [...fields];
        members.splice(place, 0, `"data"${before}:${after}${data}${before}`);
        expect(await through(data, `${after}{${members.join(',')}}${before}`)).toBe(data);
      }),
      { numRuns: 300 },
    );
  });

  it('arrives byte for byte from each item of a batch', async () => {
    const { server, client } = await serverAndListener();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(jsonText, jsonSpace), { minLength: 1, maxLength: 5 }),
        async items => {
          const bodies = items.map(
            ([data, space]) => `${space}{"data":${data},"room":"public.a","event":"e"}${space}`,
          );
          await post(server, `[${bodies.join(',')}]`).expect(200);
          for (const [data] of items)
            expect((await client.nextText()).endsWith(`"event":"e","data":${data}}`)).toBe(true);
        },
      ),
    );
  });

  it('may be nested 100,000 deep', async () => {
    const { through } = await serverAndListener();
    for (const [open, close] of [
      ['[', ']'],
      ['{"a":', '}'],
    ] as const) {
      const data = `${open.repeat(100_000)}1${close.repeat(100_000)}`;
      expect((await through(data)) === data).toBe(true);
    }
  });

  it('that is absent is null', async () => {
    const { through } = await serverAndListener();
    expect(await through('', '{"room":"public.a","event":"e"}')).toBe('null');
  });

  it('that is given twice is the last, as for every other field', async () => {
    const { through } = await serverAndListener();
    const body =
      '{"data":1,"room":"x","event":"x","room":"public.a","d\\u0061ta":{"data":3},"event":"e","data":2.0}';
    expect(await through('2.0', body)).toBe('2.0');
    const escapedLast = '{"data":1,"room":"public.a","event":"e","d\\u0061ta":2.50}';
    expect(await through('2.50', escapedLast)).toBe('2.50');
  });

  it('is not looked for inside other values', async () => {
    const { through } = await serverAndListener();
    expect(await through('{"data":1}', '{"data":{"data":1},"room":"public.a","event":"e"}')).toBe(
      '{"data":1}',
    );
  });
});

describe('a body that is no JSON', () => {
  it.each([
    ['{"room":"a","event":"e",}'],
    ["{'room':'a'}"],
    ['{"room":"a"'],
    ['room=a&event=e'],
    ['{"room":"a","event":"e","data":NaN}'],
    ['{"room":"a","event":"e","data":01}'],
    ['{"room":"a","event":"e"} x'],
    [`${'['.repeat(100_000)}`],
    ['\ufeff{"room":"a","event":"e"}'],
  ])('is refused: %.40s', async body => {
    const server = await startServer();
    expectProblem(await post(server, body), 400, 'invalid_json');
  });

  it.each(['', ' \n'])('is told when it is empty: %j', async body => {
    const server = await startServer();
    const response = await withSocket(server.url, async socket => {
      socket.send(notifyRequest(body));
      return socket.answer();
    });
    expect(expectProblem(response, 400, 'invalid_json').detail).toMatch(/empty/);
  });

  it.each([
    ['a lone continuation byte', [0x80]],
    ['Latin-1', [0xe4]],
    ['half a surrogate pair', [0xed, 0xa0, 0x80]],
    ['an overlong form', [0xc0, 0xaf]],
    ['a character cut short', [0xe4, 0xbb]],
  ])('is refused when it is no UTF-8: %s', async (_what, bytes) => {
    const server = await startServer();
    const body = Buffer.concat([
      Buffer.from('{"room":"a","event":"e","data":"'),
      Buffer.from(bytes),
      Buffer.from('"}'),
    ]);
    const response = await withSocket(server.url, async socket => {
      socket.send(notifyRequest(body));
      return socket.answer();
    });
    expect(expectProblem(response, 400, 'invalid_json').detail).toMatch(/UTF-8/);
  });
});

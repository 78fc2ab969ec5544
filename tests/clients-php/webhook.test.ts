import { expect, it } from '@jest/globals';
import { Webhook } from 'standardwebhooks';
import { servePhp } from '../support/php-site.js';
import { describeWith } from '../support/requires.js';
import { KEY } from '../support/server.js';
import { clientSnippet, php, runClient, type Told } from './php.js';

const secretOf = (byte: number, length = 24) => `whsec_${Buffer.alloc(length, byte).toString('base64')}`;
// Bytes whose base64 has all of + / and =.
const SECRET = `whsec_${Buffer.concat([Buffer.from('fbefbe', 'hex'), Buffer.alloc(29, 255)]).toString('base64')}`;
const BODY = '{"events":[{"id":"1-0","type":"message","data":{"text":"Zoë/ü 😀","n":12345678901234567890}}]}';
const DECODED = {
  events: [{ id: '1-0', type: 'message', data: { text: 'Zoë/ü 😀', n: '12345678901234567890' } }],
};
const options = `['webhookSecret' => '${SECRET}']`;
const fault = { class: 'PostroomException', code: 'invalid_webhook', status: 0, temporary: false };

interface Signing {
  secret?: string;
  /** Seconds from now at which it is signed. */
  at?: number;
  body?: string;
}

function signed({ secret = SECRET, at = 0, body = BODY }: Signing = {}) {
  const time = new Date(Date.now() + at * 1000);
  return {
    'webhook-id': 'msg_1',
    'webhook-timestamp': String(Math.floor(time.getTime() / 1000)),
    'webhook-signature': new Webhook(secret).sign('msg_1', time, body),
  };
}

/** Through JSON, as an argument list in PHP. */
const phpOf = (value: unknown) =>
  `json_decode(base64_decode('${Buffer.from(JSON.stringify(value)).toString('base64')}'), true)`;

function verify(headers: object, body = BODY, more = '') {
  return php<Told>(
    `return told(fn () => $postroom->verifyWebhook(${phpOf(body)}, ${phpOf(headers)}${more}));`,
    { options },
  );
}

const headers = signed();

describeWith(['php'], 'PHP client: a page that gets webhooks', () => {
  it('answers 500 if something is not caught, also where PHP displays errors', async () => {
    const shown = await php<[string, string]>(
      `ini_set('display_errors', '1');
       $postroom->verifyWebhook(${phpOf(BODY)}, ${phpOf(signed())});
       return [ini_get('display_errors'), 'ok'];`,
      { options },
    );
    expect(shown).toEqual(['0', 'ok']);
  });
});

describeWith(['php'], 'PHP client: webhooks', () => {
  it.each<[string, object]>([
    ['as they are sent', headers],
    [
      'as getallheaders() writes them',
      {
        Host: 'example.com',
        'Webhook-Id': headers['webhook-id'],
        'Webhook-Timestamp': headers['webhook-timestamp'],
        'Webhook-Signature': headers['webhook-signature'],
      },
    ],
    [
      'as $_SERVER has them',
      {
        WEBHOOK_ID: 'from the environment',
        HTTP_WEBHOOK_ID: headers['webhook-id'],
        HTTP_WEBHOOK_TIMESTAMP: headers['webhook-timestamp'],
        HTTP_WEBHOOK_SIGNATURE: headers['webhook-signature'],
      },
    ],
    [
      'as lists, as frameworks have them',
      Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]])),
    ],
    ['with the time as a number', { ...headers, 'webhook-timestamp': Number(headers['webhook-timestamp']) }],
  ])('takes what is signed, with headers %s', async (_what, given) => {
    expect(await verify(given)).toEqual(DECODED);
  });

  it('takes it if one of several signatures fits', async () => {
    const other = signed({ secret: secretOf(1) })['webhook-signature'];
    const all = `v1a,AAAA ${other} ${headers['webhook-signature']} v1,`;
    expect(await verify({ ...headers, 'webhook-signature': all })).toEqual(DECODED);
  });

  it('takes a call, and a body with data that is empty', async () => {
    const body = '{"event":"cart.add","data":{},"connection":"1.2","user":null}';
    expect(await verify(signed({ body }), body)).toEqual({
      event: 'cart.add',
      data: [],
      connection: '1.2',
      user: null,
    });
  });

  it.each([-290, 290])('takes what was signed %i seconds from now', async at => {
    expect(await verify(signed({ at }))).toEqual(DECODED);
  });

  it.each([
    [-310, 'It was signed more than 300 seconds ago;'],
    [310, 'It was signed more than 300 seconds in the future;'],
  ])('refuses what was signed %i seconds from now', async (at, detail) => {
    const told = await verify(signed({ at }));
    expect(told).toMatchObject(fault);
    expect(told.detail).toContain(detail);
  });

  it('allows another tolerance', async () => {
    expect(await verify(signed({ at: -310 }), BODY, ', 320')).toEqual(DECODED);
    expect(await verify(signed({ at: -20 }), BODY, ', 10')).toMatchObject(fault);
  });

  const changed = [
    ['another body', headers, BODY.replace('Zoë', 'Zoe')],
    ['a body with one more line', headers, `${BODY}\n`],
    ['another id', { ...headers, 'webhook-id': 'msg_2' }, BODY],
    [
      'another time',
      { ...headers, 'webhook-timestamp': String(Number(headers['webhook-timestamp']) + 1) },
      BODY,
    ],
    ['another secret', signed({ secret: secretOf(1) }), BODY],
    ['a signature without its version', headersWith(headers['webhook-signature'].slice(3)), BODY],
    ['a signature of another version', headersWith(headers['webhook-signature'].replace('v1', 'v1a')), BODY],
    ['a part of the signature', headersWith(headers['webhook-signature'].slice(0, -1)), BODY],
  ] as const;
  it.each(changed)('refuses %s', async (_what, given, body) => {
    const told = await verify(given, body);
    expect(told).toMatchObject(fault);
    expect(told.detail).toContain('No signature fits.');
  });

  it.each(['webhook-id', 'webhook-timestamp', 'webhook-signature'] as const)(
    'names the header that is missing: %s',
    async name => {
      const { [name]: _missing, ...others } = headers;
      for (const given of [others, { ...others, [name]: '' }, { ...others, [name]: [] }]) {
        expect(await verify(given)).toMatchObject({
          ...fault,
          detail: `The header ${name} is missing, so this is no webhook of Postroom.`,
        });
      }
    },
  );

  it.each(['', '"text"', '{"events":['])('refuses a signed body that is no object: %j', async body => {
    expect(await verify(signed({ body }), body)).toMatchObject({
      ...fault,
      detail: 'It is signed, but its body is no JSON object.',
    });
  });

  it.each([
    ['no secret', 'null'],
    ['false, as getenv() says', 'false'],
    ['a secret without its prefix', `'${SECRET.replace('whsec_', '')}'`],
    ['no base64', `'whsec_${'!'.repeat(40)}'`],
    ['a secret of 23 bytes', `'${secretOf(7, 23)}'`],
  ])('needs a secret that can be right: %s', async (_what, secret) => {
    const code = `return $postroom->verifyWebhook(${phpOf(BODY)}, ${phpOf(headers)});`;
    const { stderr } = await runClient(code, { options: `['webhookSecret' => ${secret}]` });
    expect(stderr).toContain(
      'InvalidArgumentException: Postroom: verifyWebhook() needs the option webhookSecret',
    );
    expect(stderr).not.toContain(secretOf(7, 23).slice(6));
  });

  it('throws also where failures of calls are logged', async () => {
    const told = await php<Told>(`return told(fn () => $postroom->verifyWebhook('{}', []));`, {
      options: `['webhookSecret' => '${SECRET}', 'onError' => 'log']`,
    });
    expect(told).toMatchObject(fault);
  });

  it('has its secret in no message, no trace and no dump', async () => {
    const { stdout, stderr } = await runClient(
      `print_r($postroom);
       try {
           $postroom->verifyWebhook('{}', ${phpOf(headers)});
       } catch (PostroomException $error) {
           echo $error;
       }
       $postroom->verifyWebhook('{}', []);`,
      { options },
    );
    expect(stdout).toContain('No signature fits.');
    expect(stderr).toContain('is missing');
    expect(stdout + stderr).not.toContain(SECRET.slice(6, 20));
  });

  it('the webhook snippet of clients/php/README.md takes what is signed, and answers 401 to all else', async () => {
    const { url, output } = await servePhp(clientSnippet('webhook'), {
      POSTROOM_URL: 'http://127.0.0.1:9',
      POSTROOM_KEY: KEY,
      WEBHOOK_SECRET: SECRET,
    });
    const post = (body: string) => fetch(url, { method: 'POST', headers: signed(), body });
    const taken = await post(BODY);
    expect([taken.status, await taken.text()]).toEqual([200, '1-0 message\n']);
    const refused = await post(`${BODY} `);
    expect([refused.status, await refused.text()]).toEqual([
      401,
      expect.stringContaining('No signature fits.'),
    ]);
    const plain = await fetch(url);
    expect([plain.status, await plain.text()]).toEqual([
      401,
      expect.stringContaining('webhook-id is missing'),
    ]);
    expect(output()).not.toMatch(/Warning|Notice|Deprecated|Fatal/);
  });
});

function headersWith(signature: string) {
  return { ...headers, 'webhook-signature': signature };
}

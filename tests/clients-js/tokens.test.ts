import { describe, expect, it } from '@jest/globals';
import { FakeClock, jwtUntil, openClient, settle } from './fakes.js';

const HOUR = 3_600_000;

/** An application that gives out numbered tokens, each valid for a while from the request on. */
function issuer(lifetime = HOUR) {
  const clock = new FakeClock();
  const issued: string[] = [];
  const token = async () => {
    issued.push(jwtUntil(clock.time + lifetime, `${issued.length}`));
    return issued.at(-1);
  };
  return { clock, token, issued };
}

describe('a token', () => {
  it.each([
    [0, 0.8],
    [1, 0.9],
  ])('is replaced on the open connection before it expires (random %d)', async (random, part) => {
    const { clock, token, issued } = issuer();
    const world = await openClient({ clock, token, random: () => random });
    world.socket.welcome();
    await keepAlive(world, part * HOUR - 1);
    expect(issued).toHaveLength(1);
    await keepAlive(world, 1);
    expect(issued).toHaveLength(2);
    expect(world.sockets).toHaveLength(1);
    expect(world.socket.sent).toContainEqual({ type: 'token', token: issued[1], ref: 'token' });
  });

  it('is replaced again and again', async () => {
    const { clock, token, issued } = issuer();
    const world = await openClient({ clock, token });
    world.socket.welcome();
    for (let hour = 0; hour < 9; hour++) {
      await keepAlive(world, HOUR);
      world.socket.receive({ type: 'token', expires: (clock.time + 0.9 * HOUR) / 1000, ref: 'token' });
    }
    expect(issued.length).toBeGreaterThan(9);
    expect(issued.length).toBeLessThan(13);
    expect(world.faults).toEqual([]);
  });

  it('is replaced when the server says that it expires', async () => {
    let fetched = 0;
    const token = () => `not.json.${fetched++}`;
    const world = await openClient({ token });
    world.socket.welcome();
    await keepAlive(world, 24 * HOUR);
    expect(fetched).toBe(1);
    world.socket.receive({ type: 'token', expires: world.clock.time / 1000 + 100 });
    await keepAlive(world, 90_000);
    expect(fetched).toBe(2);
  });

  it('that is good is used again by the next connection, one that is due is not', async () => {
    const { clock, token, issued } = issuer();
    const world = await openClient({ clock, token });
    world.socket.welcome();
    world.socket.lose();
    await clock.advance(1_000);
    expect(world.socket.protocols).toEqual(['postroom.v1', `bearer.${issued[0]}`]);
    expect(issued).toHaveLength(1);
    world.socket.welcome();
    world.socket.lose();
    clock.time += 0.95 * HOUR; // asleep
    await clock.advance(2_000);
    expect(issued).toHaveLength(2);
    expect(world.socket.protocols).toEqual(['postroom.v1', `bearer.${issued[1]}`]);
  });

  it('that has expired for the server (4401) is not used again, whatever our clock says', async () => {
    const { clock, token, issued } = issuer();
    const world = await openClient({ clock, token });
    world.socket.lose(4401, 'token expired');
    await clock.advance(1_000);
    expect(issued).toHaveLength(2);
    expect(world.socket.protocols[1]).toBe(`bearer.${issued[1]}`);
  });

  it('that looks expired by our clock when it is fresh is left to the server', async () => {
    const { clock, token, issued } = issuer(-2 * HOUR);
    const world = await openClient({ clock, token });
    world.socket.welcome();
    await keepAlive(world, 12 * HOUR);
    expect(issued).toHaveLength(1);
    world.socket.lose(4401);
    await clock.advance(1_000);
    expect(issued).toHaveLength(2);
    expect(world.room.state).toBe('connecting');
  });

  it('that the application gives again and again is asked for a few times only', async () => {
    const clock = new FakeClock();
    const same = jwtUntil(clock.time + HOUR);
    let fetched = 0;
    const token = () => {
      fetched++;
      return same;
    };
    const world = await openClient({ clock, token });
    world.socket.welcome();
    await keepAlive(world, 2 * HOUR);
    expect(fetched).toBeGreaterThan(1);
    expect(fetched).toBeLessThan(10);
  });

  it('that is valid for years is no reason to be busy', async () => {
    const { clock, token, issued } = issuer(10 * 365 * 24 * HOUR);
    const world = await openClient({ clock, token });
    world.socket.welcome();
    await keepAlive(world, 20 * 24 * HOUR);
    expect(issued).toHaveLength(1);
  });

  it('for another user is used for a connection of its own', async () => {
    const { clock, token, issued } = issuer();
    const world = await openClient({ clock, token });
    world.socket.welcome();
    await keepAlive(world, 0.9 * HOUR);
    const [first] = world.sockets;
    first?.receive({
      type: 'error',
      code: 'forbidden',
      message: 'The token is for another user.',
      ref: 'token',
    });
    expect(first?.released).toBe(true);
    expect(world.faults).toMatchObject([{ code: 'forbidden' }]);
    await clock.advance(1_000);
    expect(world.socket.protocols[1]).toBe(`bearer.${issued[1]}`);
  });
});

describe('token()', () => {
  it('that fails is called again, later and later, and told', async () => {
    const cause = new Error('503');
    let calls = 0;
    const token = async () => {
      if (++calls < 4) throw cause;
      return 'x.y.z';
    };
    const world = await openClient({ token });
    await world.clock.advance(999);
    expect(calls).toBe(1);
    await world.clock.advance(1 + 2_000 + 3_999);
    expect(calls).toBe(3);
    expect(world.sockets).toEqual([]);
    expect(world.faults).toEqual(Array(3).fill({ code: 'token', message: 'Error: 503', cause }));
    await world.clock.advance(1);
    expect(world.socket.protocols).toEqual(['postroom.v1', 'bearer.x.y.z']);
  });

  it.each([
    ['a login page', '<!doctype html><title>Log in</title>'],
    ['JSON around the token', '{"token":"x.y.z"}'],
    ['the token and a line feed', 'x.y.z\n'],
    ['no string', { token: 'x.y.z' } as unknown as string],
  ])('that brings no JWT is called again, and told: %s', async (_what, brought) => {
    const brings = [brought, 'x.y.z'];
    const world = await openClient({ token: () => brings.shift() });
    expect(world.sockets).toEqual([]);
    expect(world.faults).toMatchObject([
      { code: 'token', message: 'TypeError: token() did not bring a JWT' },
    ]);
    await world.clock.advance(1_000);
    expect(world.socket.protocols).toEqual(['postroom.v1', 'bearer.x.y.z']);
  });

  it('that brings no JWT while the connection is open leaves the old token in use', async () => {
    const { clock, token: issue, issued } = issuer();
    const world = await openClient({ clock, token: () => (issued.length === 0 ? issue() : '<html>') });
    world.socket.welcome();
    await keepAlive(world, 0.9 * HOUR);
    expect(world.faults).toMatchObject([{ code: 'token' }]);
    world.socket.lose();
    await clock.advance(1_000);
    expect(world.socket.protocols[1]).toBe(`bearer.${issued[0]}`);
  });

  it('that throws, or never answers, holds up nothing', async () => {
    const thrown = await openClient({
      token: () => {
        throw new Error('no session');
      },
    });
    expect(thrown.faults).toMatchObject([{ code: 'token', message: 'Error: no session' }]);

    const answers: ((token: string) => void)[] = [];
    const hung = await openClient({ token: () => new Promise<string>(resolve => answers.push(resolve)) });
    await hung.clock.advance(20_000 + 1_000);
    expect(answers).toHaveLength(2);
    answers[0]?.('late');
    await settle();
    expect(hung.sockets).toEqual([]);
    answers[1]?.('in.good.time');
    await settle();
    expect(hung.sockets).toHaveLength(1);
    expect(hung.socket.protocols[1]).toBe('bearer.in.good.time');
  });

  it('that fails while the connection is open is called again while there is time', async () => {
    const { clock, token: issue, issued } = issuer();
    let failures = 0;
    const token = () => {
      if (issued.length === 0 || failures === 2) return issue();
      failures++;
      throw new Error('503');
    };
    const world = await openClient({ clock, token });
    world.socket.welcome();
    await keepAlive(world, 0.9 * HOUR);
    expect(failures).toBe(1);
    expect(world.faults).toMatchObject([{ code: 'token' }]);
    expect(world.room.state).toBe('open');
    await keepAlive(world, 0.0999 * HOUR);
    expect(issued).toHaveLength(2);
    expect(world.sockets).toHaveLength(1);
  });

  it('that gives up after it was given up itself is not heard', async () => {
    const refusals: (() => void)[] = [];
    const token = () => new Promise<string>((_, reject) => refusals.push(() => reject(new Error('late'))));
    const { room, clock, faults } = await openClient({ token });
    await clock.advance(20_000 + 1_000);
    expect(refusals).toHaveLength(2);
    refusals[0]?.();
    await settle();
    expect(faults).toEqual([]);
    expect(room.state).toBe('connecting');
  });

  it('that has nothing more to give leaves the connection to its end', async () => {
    const { clock, token: issue, issued } = issuer();
    const world = await openClient({ clock, token: async () => (issued.length === 0 ? issue() : null) });
    world.socket.welcome();
    await keepAlive(world, 2 * HOUR);
    expect(world.socket.sent.filter(({ type }) => type !== 'ping')).toEqual([]);
    world.socket.lose(4401);
    await clock.advance(1_000);
    expect(world.socket.protocols).toEqual(['postroom.v1']);
  });

  describe('that was asked when the connection was lost', () => {
    const asking = async () => {
      const { clock, token: issue, issued } = issuer();
      const answers: { give(): void; refuse(): void }[] = [];
      const later = () =>
        new Promise<string | undefined>((resolve, reject) =>
          answers.push({ give: () => resolve(issue()), refuse: () => reject(new Error('late')) }),
        );
      const world = await openClient({ clock, token: () => (issued.length === 0 ? issue() : later()) });
      world.socket.welcome();
      await keepAlive(world, 0.9 * HOUR);
      const [answer] = answers;
      if (answer === undefined) throw new Error('no token was asked for');
      world.socket.lose();
      return { world, issued, answer, answers };
    };

    it('gives it to the next one', async () => {
      const { world, issued, answer, answers } = await asking();
      answer.give();
      await settle();
      expect(world.clock.due).toHaveLength(1);
      await world.clock.advance(1_000);
      expect(world.sockets[0]?.sent.filter(({ type }) => type === 'token')).toEqual([]);
      expect(world.socket.protocols[1]).toBe(`bearer.${issued[1]}`);
      expect(answers).toHaveLength(1);
    });

    it('says nothing to the next one where it is too late for that', async () => {
      const { world, answer, answers } = await asking();
      await world.clock.advance(1_000);
      answers[1]?.give();
      await settle();
      world.socket.welcome();
      answer.give();
      await settle();
      expect(world.sockets).toHaveLength(2);
      expect(world.socket.sent).toEqual([]);
    });

    it('is no fault where it fails, for it is asked again', async () => {
      const { world, answer, answers } = await asking();
      answer.refuse();
      await world.clock.advance(1_000);
      expect(world.faults).toEqual([]);
      expect(answers).toHaveLength(2);
    });
  });
});

/** Lets time pass on a link that answers every ping. */
async function keepAlive(
  { clock, socket }: { clock: FakeClock; socket: { sent: object[]; receive(frame: object): void } },
  milliseconds: number,
): Promise<void> {
  const until = clock.time + milliseconds;
  while (clock.time < until) {
    const [next = Number.POSITIVE_INFINITY] = clock.due;
    await clock.advance(Math.min(next, until - clock.time));
    const last = socket.sent.at(-1);
    if (last && 'type' in last && last.type === 'ping') socket.receive({ type: 'pong' });
  }
}

import { describe, expect, it } from '@jest/globals';
import { MemoryStores } from '../../src/storage/memory.js';
import { type OpenConnection, OpenConnections } from '../../src/webhooks/open-connections.js';
import { turn } from '../core/fakes.js';
import { VirtualTime } from '../support/virtual-cluster.js';

function connectionOf(connection: string, user: string | null = null): OpenConnection {
  return { connection, user, address: '192.0.2.1', protocol: 'postroom.v1' };
}

/** Sessions of a node in a store that can fail. */
function start() {
  const store = new MemoryStores().open<OpenConnection>('connections');
  const time = new VirtualTime();
  const failures: unknown[] = [];
  const state = { isFailing: false };
  const check = () => {
    if (state.isFailing) throw new Error('the disk is full');
  };
  const failing = {
    get: store.get.bind(store),
    range: store.range.bind(store),
    put: async (key: string, session: OpenConnection) => {
      check();
      await store.put(key, session);
    },
    remove: async (key: string) => {
      check();
      return store.remove(key);
    },
  };
  const connections = new OpenConnections({
    store: failing,
    node: 'one',
    after: time.after,
    failed: error => failures.push(error),
  });
  return {
    connections,
    state,
    failures,
    /** Lets so many retries pass. */
    async retry(times: number): Promise<void> {
      for (let count = 0; count < times; count++) {
        time.pass(1000);
        await turn();
      }
    },
    stored: async () =>
      (await store.range('', '~', 100)).map(([, { connection, user }]) => `${connection} ${user}`),
  };
}

describe('open connections whose store fails for a while', () => {
  it('are stored when it works again: as they are then, and without those that have ended', async () => {
    const { connections, state, failures, retry, stored } = start();
    connections.put(connectionOf('stays'));
    connections.put(connectionOf('ends'));
    await turn();
    state.isFailing = true;
    connections.remove('ends');
    connections.put(connectionOf('new'));
    connections.put(connectionOf('brief'));
    connections.put(connectionOf('stays', 'ann'));
    await retry(3);
    connections.remove('brief');
    await turn();
    expect(await stored()).toEqual(['ends null', 'stays null']);
    expect(failures).toHaveLength(1);
    state.isFailing = false;
    await retry(1);
    expect(await stored()).toEqual(['new null', 'stays ann']);
    await connections.stop();
  });

  it('are removed in the end, also if they were still being stored', async () => {
    const { connections, state, retry, stored } = start();
    connections.put(connectionOf('brief'));
    state.isFailing = true;
    connections.remove('brief');
    await turn();
    expect(await stored()).toEqual(['brief null']);
    state.isFailing = false;
    await retry(1);
    expect(await stored()).toEqual([]);
  });

  it('are left if their end cannot be told', async () => {
    const { connections, state, retry, stored } = start();
    state.isFailing = true;
    connections.put(connectionOf('unheard'));
    await turn();
    connections.leave('unheard');
    state.isFailing = false;
    await retry(2);
    expect(await stored()).toEqual([]);
  });

  it('are tried once more at the end', async () => {
    const { connections, state, stored } = start();
    state.isFailing = true;
    connections.put(connectionOf('one'));
    await turn();
    expect(await stored()).toEqual([]);
    state.isFailing = false;
    await connections.stop();
    expect(await stored()).toEqual(['one null']);
  });
});

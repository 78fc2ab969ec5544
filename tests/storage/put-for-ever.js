/**
 * node put-for-ever.js disk DIRECTORY
 * node put-for-ever.js redis URL PREFIX
 * Opens the stores and changes one of them until it is killed. Prints each change when it is durable, and before that
 * where it is a removal; where the stores cannot be opened, why.
 *
 * Each lane puts one thing after the other, and its number of things with each. Of every third it removes the one
 * before. A value says itself how long it has to be.
 */
import { DataDirectory } from '../../dist/storage/directory.js';
import { DiskStores } from '../../dist/storage/disk.js';
import { RedisStores } from '../../dist/storage/redis.js';

const LANES = 8;

const [kind, place, prefix] = process.argv.slice(2);
const { signal } = new AbortController();
const ignore = () => undefined;
const stores =
  kind === 'disk'
    ? new DiskStores(new DataDirectory(place), signal)
    : new RedisStores(place, prefix, ignore, signal);

try {
  await stores.start();
} catch (error) {
  console.log(error.message);
  process.exit(1);
}
const store = stores.open('things');
await Promise.all(Array.from({ length: LANES }, (_, lane) => putForEver(lane)));

async function putForEver(lane) {
  const { number: last = -1 } = (await store.get(`last ${lane}`)) ?? {};
  for (let number = last + 1; ; number++) {
    await Promise.all([
      store.put(`thing ${lane} ${number}`, thingOf(lane, number)),
      store.put(`last ${lane}`, thingOf(lane, number)),
    ]);
    console.log(`put ${lane} ${number}`);
    if (number % 3 !== 2) continue;
    console.log(`removing ${lane} ${number - 1}`);
    const wasThere = await store.remove(`thing ${lane} ${number - 1}`);
    console.log(`removed ${lane} ${number - 1} ${wasThere}`);
  }
}

function thingOf(lane, number) {
  const length = (lane * 1009 + number * 97) % 6000;
  return { lane, number, length, text: 'x'.repeat(length) };
}

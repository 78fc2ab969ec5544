import { durableContract } from './durable-contract.js';
import { makeStores, newDirectory, openStores } from './disk-stores.js';
import { storeContract } from './store-contract.js';

storeContract('disk', () => makeStores(newDirectory()));

durableContract('disk', () => {
  const directory = newDirectory();
  return { open: () => openStores(directory), words: ['disk', directory] };
});

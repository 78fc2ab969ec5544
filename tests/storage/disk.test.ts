import { makeStores, newDirectory } from './disk-stores.js';
import { storeContract } from './store-contract.js';

storeContract('disk', () => makeStores(newDirectory()));

import { MemoryStores } from '../../src/storage/memory.js';
import { storeContract } from './store-contract.js';

storeContract('memory', () => new MemoryStores());

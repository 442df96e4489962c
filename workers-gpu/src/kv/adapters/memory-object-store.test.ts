import { objectStoreContract } from '../testing/object-store-contract.ts';
import { createMemoryObjectStore } from './memory-object-store.ts';

objectStoreContract('memory', async () => ({ store: createMemoryObjectStore(), stop: async () => {} }));

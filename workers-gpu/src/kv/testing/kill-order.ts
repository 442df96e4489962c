import { someTokens } from '../../../../native/tiny-model.ts';

/** What killed-worker.ts is told, as JSON, in its one argument. */
export interface KillOrder {
  databaseUrl: string;
  objectsFolder: string;
  tierFolder: string;
  organizationId: string;
  /** `publish`: prefill and publish the chain. `delete`: remove it, then sweep. */
  work: 'publish' | 'delete';
  /** Index of the call to the object store or the database, counted from 0. */
  killAt: number;
  moment: 'before' | 'after';
}

/** The chain: three blocks, in these places of the engine's pool. */
export const TOKENS = someTokens(3 * 128, 3);
export const PHYSICAL_BLOCKS = Uint32Array.of(2, 5, 1);

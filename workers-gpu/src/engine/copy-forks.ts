import type { EncodedLayers, Engine } from '@longshore/native';
import type { Fork } from '../domain/scheduler.ts';

/** What copying needs of the engine. */
export type CopyEngine = Pick<Engine, 'exportBlocks' | 'importBlocks'>;

/**
 * Copies leading tokens of blocks to other blocks of the same pool, each source read once. No step may run meanwhile. Resolves to
 * which copies were made; the others' tokens have to be computed.
 */
export async function copyForks(engine: CopyEngine, forks: readonly Fork[]): Promise<boolean[]> {
  const read = new Map<string, Promise<EncodedLayers>>();
  const copies = forks.map(async ({ from, to, firstToken, tokens }) => {
    const name = `${from}:${tokens}`;
    const source = read.get(name) ?? engine.exportBlocks(Uint32Array.of(from), 'raw', firstToken, tokens);
    read.set(name, source);
    const { layers } = await source;
    await engine.importBlocks(Uint32Array.of(to), 'raw', layers, firstToken, tokens);
  });
  return (await Promise.allSettled(copies)).map(({ status }) => status === 'fulfilled');
}

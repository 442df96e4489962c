import type { AttentionPolicy, HeadPolicy } from '@longshore/core';
import { BLOCK_TOKENS, type Engine } from '@longshore/native';
import { chooseForHead, type Limits } from './choose.ts';
import type { HeadReport } from './head-measures.ts';
import { measurePrompt } from './measure-prompt.ts';
import { policyFile } from './policy-file.ts';

export interface SearchOptions {
  candidates: readonly HeadPolicy[];
  limits: Limits;
  /** The policy's: query blocks that end at or below are dense, and not measured. */
  minTokens: number;
  every: number;
  chunk: number;
  onProgress?: (tokens: number) => void;
}

export interface SearchResult {
  policy: AttentionPolicy;
  /** [layer][head]: index into the candidates; undefined in sliding layers. */
  chosen: (number | undefined)[][];
  /** [layer][head][candidate] */
  reports: HeadReport[][][];
  /** Of the whole policy over the measured query blocks: entries read, and time of attention, as shares of dense attention's. */
  density: number;
  time: number;
}

const asFile = (policy: HeadPolicy): string =>
  JSON.stringify({ format: 'longshore-attention-policy', version: 1, default: policy });

/**
 * Measures every candidate on every head of a real text and gives each head the cheapest that stays within the limits. The engine must be
 * open under a dense policy: what a layer sees is then what dense layers before it made. Rejects as Engine.measure does.
 */
export async function searchPatterns(
  engine: Engine,
  tokens: Uint32Array,
  options: SearchOptions,
): Promise<SearchResult> {
  const { candidates, limits, minTokens, every, chunk } = options;
  const dense = candidates.findIndex(({ type }) => type === 'dense');
  if (dense < 0) throw new Error('the candidates must hold dense, which the others are compared with');
  const blocks = Uint32Array.from({ length: Math.ceil(tokens.length / BLOCK_TOKENS) }, (_, block) => block);
  const from = Math.ceil(minTokens / BLOCK_TOKENS) * BLOCK_TOKENS;
  const measured = await measurePrompt(engine, tokens, blocks, {
    policies: candidates.map(asFile),
    every,
    from,
    chunk,
    ...(options.onProgress ? { onProgress: options.onProgress } : {}),
  });
  const { layers, heads } = engine.info;
  const reports = Array.from({ length: layers }, (_, layer) =>
    Array.from({ length: heads }, (_, head) => candidates.map((_, index) => measured.heads.at(index, layer, head))),
  );
  const chosen = reports.map((row) =>
    row.map((head) => (head[dense]!.rows > 0 ? chooseForHead(head, dense, limits) : undefined)),
  );
  let ns = 0;
  let denseNs = 0;
  let density = 0;
  let counted = 0;
  for (const [layer, row] of chosen.entries())
    for (const [head, index] of row.entries()) {
      if (index === undefined) continue;
      const report = reports[layer]![head]!;
      ns += report[index]!.ns;
      denseNs += report[dense]!.ns;
      density += report[index]!.density;
      counted++;
    }
  if (counted === 0) throw new Error(`no query block beyond ${from} tokens was measured: give a longer text`);
  const table = chosen.map((row) => row.map((index) => candidates[index ?? dense]!));
  return {
    policy: policyFile(engine.info, minTokens, table),
    chosen,
    reports,
    density: density / counted,
    time: denseNs > 0 ? ns / denseNs : 1,
  };
}

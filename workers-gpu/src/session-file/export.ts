import { BLOCK_TOKENS, type ExportRequest, encodeSessionFileHeader, toHex } from '@longshore/core';
import { PrefixChain } from '../domain/prefix-chain.ts';
import type { ObjectSlice, TenantKeys } from '../kv/index.ts';
import type { SessionState } from '../serving/session-state.ts';
import type { SessionTurns } from '../serving/session-turns.ts';
import type { WorkerParts } from '../serving/worker-parts.ts';
import { FRAME, FrameWriter } from './frames.ts';
import { encodeKvPayload } from './kv-payload.ts';
import { encodeSessionPayload } from './session-payload.ts';

interface Stored {
  chain: PrefixChain;
  slices: readonly ObjectSlice[];
  blockCount: number;
  /** Tokens of the partial last block that is stored behind them. */
  tailTokens: number;
}

/**
 * POST /sessions/export: the session as a stream of pieces, at most two objects of KV in memory at a time. KV that the store cannot give
 * is left out, from there on: whoever imports the file computes it. Throws not_found, conflict or database_unavailable at once.
 */
export async function exportSession(
  parts: WorkerParts,
  turns: SessionTurns,
  request: ExportRequest,
  signal: AbortSignal,
): Promise<AsyncGenerator<Uint8Array>> {
  const { tenant, state } = await turns.load(request.organizationId, request.session, 'ready');
  const stored = await findStored(parts, tenant, state);
  return pieces(parts, tenant, state, stored, signal);
}

async function findStored(parts: WorkerParts, tenant: TenantKeys, state: SessionState): Promise<Stored> {
  const chain = new PrefixChain(tenant.root);
  chain.extend(state.tokens);
  const nothing: Stored = { chain, slices: [], blockCount: 0, tailTokens: 0 };
  if (state.namespace !== toHex(parts.kv.namespace)) return nothing;
  const whole = Math.floor(state.keptTokens / BLOCK_TOKENS);
  const tailTokens = state.tailObjectKey === null ? 0 : state.keptTokens % BLOCK_TOKENS;
  if (whole === 0) return { ...nothing, tailTokens };
  const outcome = await parts.kv.lookup({ tenant, hashes: chain.digestRange(0, whole) });
  if (!outcome.ok) return nothing;
  const { slices, blockCount } = outcome.value;
  return { chain, slices, blockCount, tailTokens: blockCount === whole ? tailTokens : 0 };
}

async function* pieces(
  parts: WorkerParts,
  tenant: TenantKeys,
  state: SessionState,
  stored: Stored,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const { kv, identity, modelId, fileKey } = parts;
  const { chain, blockCount, tailTokens } = stored;
  const head = encodeSessionFileHeader({
    model: modelId,
    namespace: toHex(kv.namespace),
    identity,
    tokenCount: state.tokens.length,
    turnCount: state.marks.length,
    blockCount,
    tailTokens,
  });
  yield head;
  const frames = new FrameWriter(head, fileKey);
  yield* frames.frame(FRAME.session, encodeSessionPayload(state));
  let blocks = 0;
  for (const slice of stored.slices) {
    signal.throwIfAborted();
    const read = await kv.plain.read(tenant, slice, signal);
    if (!read.ok) break;
    const tokenCount = slice.hashes.length * BLOCK_TOKENS;
    yield* frames.frame(FRAME.blocks, encodeKvPayload({ firstBlock: blocks, tokenCount, sections: read.value }));
    blocks += slice.hashes.length;
  }
  signal.throwIfAborted();
  if (blocks === blockCount && tailTokens > 0) {
    const firstToken = blocks * BLOCK_TOKENS;
    const read = await kv.plain.readTail({
      tenant,
      objectKey: state.tailObjectKey!,
      parentHash: chain.parentOf(blocks),
      hash: chain.tailDigest(state.tokens, firstToken + tailTokens),
      firstToken,
      tokenCount: tailTokens,
      signal,
    });
    if (read.ok) {
      const payload = { firstBlock: blocks, tokenCount: tailTokens, sections: read.value };
      yield* frames.frame(FRAME.tail, encodeKvPayload(payload));
    }
  }
  yield* frames.frame(FRAME.end, Buffer.alloc(0));
}

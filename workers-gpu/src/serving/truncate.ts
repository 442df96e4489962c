import { BLOCK_TOKENS, LongshoreError, type TruncateAnswer, type TruncateRequest, toHex } from '@longshore/core';
import { PrefixChain } from '../domain/prefix-chain.ts';
import { type Cut, cutToTokens, cutToTurn } from '../domain/turn-marks.ts';
import type { TenantKeys } from '../kv/index.ts';
import { type KeptKv, NOTHING_KEPT } from './session-keeper.ts';
import { type SessionState, sealSession } from './session-state.ts';
import type { SessionTurns } from './session-turns.ts';
import type { WorkerParts } from './worker-parts.ts';

/**
 * POST /sessions/truncate: cuts a session back and lets go of the tail that no longer belongs to it. Blocks of the shared chain stay:
 * they are the organization's. Throws not_found, conflict, invalid_request or database_unavailable.
 */
export async function truncate(
  parts: WorkerParts,
  turns: SessionTurns,
  request: TruncateRequest,
): Promise<TruncateAnswer> {
  return turns.exclusively(request.session, async () => {
    const { tenant, state } = await turns.load(request.organizationId, request.session, 'ready');
    const cut = await cutOf(parts, state, request);
    const shared = sharedLength(cut.tokens, state.tokens);
    const kept = keptAfter(parts, tenant, state, cut.tokens, shared);
    const version = await parts.sessions.cut({
      organizationId: request.organizationId,
      sessionId: state.id,
      expectedVersion: state.version,
      tokenCount: cut.tokens.length,
      turnCount: cut.marks.length,
      ...sealSession(state.id, tenant, { ...cut, keptTokens: kept.keptTokens, namespace: state.namespace }),
      tailObjectKey: kept.tailObjectKey,
      headHash: kept.headHash,
    });
    if (version === undefined) {
      throw new LongshoreError('conflict', 'A turn of this session was committed meanwhile, or it was deleted; retry.');
    }
    return { tokenCount: cut.tokens.length, turnCount: cut.marks.length, keptTokens: kept.keptTokens };
  });
}

async function cutOf(parts: WorkerParts, state: SessionState, { turn, tokens }: TruncateRequest): Promise<Cut> {
  const spell = (some: readonly number[]) => parts.text.tokenizer.decode(some);
  if (tokens !== undefined) {
    if (tokens > state.tokens.length) {
      const there = state.tokens.length;
      throw new LongshoreError('invalid_request', `The session has ${there} tokens; tokens must be 1 to ${there}.`, {
        param: 'tokens',
      });
    }
    return cutToTokens(state, tokens, spell);
  }
  const last = state.marks.length - 1;
  if (turn! > last) {
    throw new LongshoreError('invalid_request', `The session's last turn is ${last}; turn must be 0 to ${last}.`, {
      param: 'turn',
    });
  }
  return cutToTurn(state, turn!, spell) ?? renderedAgain(parts, state, turn!);
}

/** A later turn was rendered in another way, so that turn's own tokens are no longer stored. */
async function renderedAgain(parts: WorkerParts, state: SessionState, turn: number): Promise<Cut> {
  const { messages } = state.marks[turn]!;
  const { tokens, rendered } = await parts.prompts.renderAll(state.transcript.messages.slice(0, messages));
  const marks = state.marks.slice(0, turn + 1);
  marks[turn] = {
    tokens: tokens.length,
    messages,
    prefixCharacters: rendered.prefixText.length,
    textCharacters: rendered.text.length,
  };
  return { tokens, transcript: rendered, marks };
}

function sharedLength(some: readonly number[], others: readonly number[]): number {
  const differs = some.findIndex((token, index) => token !== others[index]);
  return differs < 0 ? Math.min(some.length, others.length) : differs;
}

/** The tail is whole or useless; whole blocks are kept as far as their tokens are the session's still. */
function keptAfter(
  parts: WorkerParts,
  tenant: TenantKeys,
  state: SessionState,
  tokens: readonly number[],
  shared: number,
): KeptKv {
  if (state.keptTokens <= shared) {
    return { keptTokens: state.keptTokens, tailObjectKey: state.tailObjectKey, headHash: state.headHash };
  }
  const blocks = Math.floor(Math.min(state.keptTokens, shared) / BLOCK_TOKENS);
  if (blocks === 0 || state.namespace !== toHex(parts.kv.namespace)) return NOTHING_KEPT;
  const chain = new PrefixChain(tenant.root);
  chain.extend(tokens.slice(0, blocks * BLOCK_TOKENS));
  return { keptTokens: blocks * BLOCK_TOKENS, tailObjectKey: null, headHash: chain.parentOf(blocks) };
}

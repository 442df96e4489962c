import { type FinishReason, LongshoreError, toHex } from '@longshore/core';
import type { SessionRow } from '@longshore/db';
import type { Transcript } from '../domain/transcript.ts';
import { type TurnMark, withMark } from '../domain/turn-marks.ts';
import type { TenantKeys } from '../kv/index.ts';
import type { PublishTrack } from './publish-track.ts';
import { type HeldKv, type KeptKv, NOTHING_KEPT, SessionKeeper } from './session-keeper.ts';
import { openSession, type SessionState, sealSession } from './session-state.ts';
import type { WorkerParts } from './worker-parts.ts';

/** How long a request waits for its session's KV to reach the store before it commits without. */
const STORE_TIMEOUT_MS = 60_000;

export interface TurnRecord {
  requestId: string;
  /** Tokens of the whole session after the turn, and how they read. */
  tokens: number[];
  transcript: Transcript;
  /** Where the turns ended that the tokens hold, this one's end last, where they came with the tokens. */
  marks?: readonly TurnMark[];
  /** Leading tokens that are exactly those the session had before. */
  sharedTokens: number;
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
  finishReason: FinishReason | 'prefill' | 'import';
  tier: string;
  ttftMs: number;
}

/** Loads sessions, lets one turn at a time run on each (here), stores their KV and commits what the turn did. */
export class SessionTurns {
  readonly keeper: SessionKeeper;
  private readonly parts: WorkerParts;
  private readonly busy = new Set<string>();

  constructor(parts: WorkerParts) {
    this.parts = parts;
    this.keeper = new SessionKeeper(parts.kv, parts.scheduler, () => parts.loop.wake());
  }

  /** Runs `turn` as this worker's only turn on the session. Throws LongshoreError conflict while another one runs. */
  async exclusively<T>(sessionId: string, turn: () => Promise<T>): Promise<T> {
    if (this.busy.has(sessionId)) {
      throw new LongshoreError('conflict', 'Another turn of this session is running; send this one when it has ended.');
    }
    this.busy.add(sessionId);
    try {
      return await turn();
    } finally {
      this.busy.delete(sessionId);
    }
  }

  /** Throws not_found, conflict (wrong status), model_not_found or database_unavailable. */
  async load(
    organizationId: string,
    sessionId: string,
    status: SessionRow['status'],
  ): Promise<{ row: SessionRow; tenant: TenantKeys; state: SessionState }> {
    const row = await this.parts.sessions.load(organizationId, sessionId);
    if (row === undefined) throw new LongshoreError('not_found', `There is no session ${sessionId}.`);
    if (row.status !== status) {
      throw new LongshoreError('conflict', `Session ${sessionId} is ${row.status}, not ${status}.`);
    }
    if (row.model !== this.parts.modelId) {
      throw new LongshoreError('model_not_found', `Session ${sessionId} belongs to model ${row.model}.`);
    }
    const tenant = await this.parts.kv.tenant(organizationId);
    if (!tenant.ok) {
      throw new LongshoreError(
        'database_unavailable',
        `The organization's keys cannot be read: ${tenant.fault.message}`,
      );
    }
    return { row, tenant: tenant.value, state: openSession(row, tenant.value) };
  }

  /**
   * Stores what `held` holds (undefined: nothing is to be written) and commits the turn. What an earlier turn kept stays kept where
   * this one stored less. Throws conflict when another turn won.
   */
  async commit(
    state: SessionState,
    tenant: TenantKeys,
    held: { kv: HeldKv; track: PublishTrack } | undefined,
    record: TurnRecord,
  ): Promise<void> {
    const namespace = toHex(this.parts.kv.namespace);
    const before = keptBefore(state, namespace, record.sharedTokens);
    const stored = held === undefined ? before : await this.store(state.id, tenant, held);
    const { keptTokens, tailObjectKey, headHash } = stored.keptTokens >= before.keptTokens ? stored : before;
    const { tokens, transcript } = record;
    const given = record.marks?.length ? [...record.marks] : undefined;
    const marks = given ?? withMark(state.marks, record.sharedTokens, tokens.length, transcript);
    const version = await this.parts.sessions.commit({
      organizationId: tenant.organizationId,
      sessionId: state.id,
      expectedVersion: state.version,
      workerId: this.parts.workerId,
      tokenCount: tokens.length,
      ...sealSession(state.id, tenant, { tokens, transcript, marks, keptTokens, namespace }),
      tailObjectKey,
      headHash,
      ...(given === undefined ? {} : { turnsBefore: given.length - 1 }),
      turn: {
        requestId: record.requestId,
        promptTokens: record.promptTokens,
        cachedTokens: record.cachedTokens,
        completionTokens: record.completionTokens,
        finishReason: record.finishReason,
        tier: record.tier,
        ttftMs: record.ttftMs,
      },
    });
    if (version === undefined) {
      throw new LongshoreError(
        'conflict',
        'Another turn of this session was committed first, or it was deleted; retry.',
      );
    }
  }

  /** The blocks are given back only when the store has let go of them, even where the wait ends earlier. */
  private async store(
    sessionId: string,
    tenant: TenantKeys,
    held: { kv: HeldKv; track: PublishTrack },
  ): Promise<KeptKv> {
    const stored = this.keeper
      .store(held.kv, tenant, sessionId, held.track)
      .finally(() => this.keeper.release(held.kv));
    const { promise: timeout, resolve } = Promise.withResolvers<KeptKv>();
    const timer = setTimeout(() => resolve(NOTHING_KEPT), STORE_TIMEOUT_MS);
    try {
      return await Promise.race([stored, timeout]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** An earlier tail is whole or useless: it only counts where the tokens up to its end are still the session's. */
function keptBefore(state: SessionState, namespace: string, sharedTokens: number): KeptKv {
  if (state.namespace !== namespace || state.keptTokens > sharedTokens) return NOTHING_KEPT;
  return { keptTokens: state.keptTokens, tailObjectKey: state.tailObjectKey, headHash: state.headHash };
}

import {
  BLOCK_TOKENS,
  decodeSessionFileHeader,
  type ImportAnswer,
  type ImportReason,
  type ImportRequest,
  LongshoreError,
  type SessionFileHeader,
  sessionFileHeadBytes,
  toHex,
} from '@longshore/core';
import { PrefixChain } from '../domain/prefix-chain.ts';
import type { SessionText } from '../domain/turn-marks.ts';
import { nearestChange, type TenantKeys } from '../kv/index.ts';
import { checkContext } from '../serving/context-limit.ts';
import { prefillTokens } from '../serving/prefill.ts';
import type { KeptKv } from '../serving/session-keeper.ts';
import type { SessionState } from '../serving/session-state.ts';
import type { SessionTurns } from '../serving/session-turns.ts';
import type { WorkerParts } from '../serving/worker-parts.ts';
import { FRAME, type Frame, FrameReader } from './frames.ts';
import { decodeKvPayload } from './kv-payload.ts';
import { exactReads } from './read-exactly.ts';
import { decodeSessionPayload } from './session-payload.ts';

/** A session file's bytes at most. */
const MAX_FILE_BYTES = 64 * 1024 ** 3;

/** What is taken over from a file while it is read. */
interface Taking {
  tenant: TenantKeys;
  state: SessionState;
  text: SessionText;
  chain: PrefixChain;
  /** Why the next KV is not taken; null while it is. */
  reason: ImportReason | null;
  blocks: number;
  tail: { endToken: number; objectKey: string } | null;
  bytes: number;
}

/**
 * POST /sessions/import: reads a session file into a session in state `creating`. KV of this platform and namespace is sealed with the
 * organization's own key and published, block by block, as it arrives; what the file does not give is computed. Throws invalid_request
 * for a damaged file, context_length_exceeded, and what a prefill throws.
 */
export async function importSession(
  parts: WorkerParts,
  turns: SessionTurns,
  request: ImportRequest,
  body: ReadableStream<Uint8Array>,
  signal: AbortSignal,
): Promise<ImportAnswer> {
  return turns.exclusively(request.session, async () => {
    const { tenant, state } = await turns.load(request.organizationId, request.session, 'creating');
    const read = exactReads(body, MAX_FILE_BYTES);
    const { header, frames } = await open(parts, read);
    const first = await frames.next();
    if (first.type !== FRAME.session) throw misplaced();
    const text = await sessionText(parts, header, first);
    checkContext(text.tokens.length, parts.contextLimit, 1);
    const chain = new PrefixChain(tenant.root);
    chain.extend(text.tokens);
    const reason = first.isOurs ? changeOf(parts, header) : 'unknown_origin';
    const taking: Taking = {
      tenant,
      state,
      text,
      chain,
      reason,
      blocks: 0,
      tail: null,
      bytes: 0,
    };
    for (let frame = await frames.next(); frame.type !== FRAME.end; frame = await frames.next()) {
      signal.throwIfAborted();
      if (frame.isOurs !== first.isOurs) throw damagedSeal();
      await take(parts, taking, frame);
    }
    return settle(parts, turns, request, taking, signal);
  });
}

async function open(parts: WorkerParts, read: (count: number) => Promise<Buffer>) {
  const prefix = await read(12);
  const head = Buffer.concat([prefix, await read(sessionFileHeadBytes(prefix)! - prefix.length)]);
  return { header: decodeSessionFileHeader(head), frames: new FrameReader(head, read, parts.fileKey) };
}

/** Tokens as they are where the tokenizer is the same, else the transcript tokenized again. */
async function sessionText(parts: WorkerParts, header: SessionFileHeader, frame: Frame): Promise<SessionText> {
  const { tokens, transcript, marks } = decodeSessionPayload(frame.payload);
  const isKnown = tokens.every((token) => token < parts.info.vocab);
  if (header.identity.tokenizer === parts.identity.tokenizer && isKnown) return { tokens, transcript, marks };
  const { messages, prefixText } = transcript;
  if (messages.length > 0 && prefixText !== '')
    throw new LongshoreError(
      'invalid_request',
      'The session begins with text and goes on in messages: only its own tokenizer can read it.',
    );
  const prompt =
    messages.length > 0
      ? await parts.prompts.renderAll(messages)
      : await parts.prompts.build({ kind: 'text', text: prefixText }, false);
  return { tokens: prompt.tokens, transcript: prompt.rendered, marks: [] };
}

function changeOf(parts: WorkerParts, header: SessionFileHeader): ImportReason | null {
  if (header.namespace === toHex(parts.kv.namespace)) return null;
  return nearestChange(parts.identity, [header.identity]) ?? 'identity_changed';
}

async function take(parts: WorkerParts, taking: Taking, frame: Frame): Promise<void> {
  if (frame.type === FRAME.session) throw misplaced();
  if (taking.reason !== null) return;
  const payload = decodeKvPayload(frame.payload);
  const { tenant, chain, text, state, blocks } = taking;
  const { ttlSeconds } = state;
  const count = Math.floor(payload.tokenCount / BLOCK_TOKENS);
  const firstToken = blocks * BLOCK_TOKENS;
  if (payload.firstBlock !== blocks || firstToken + payload.tokenCount > text.tokens.length) throw misplaced();
  const place = { tenant, ttlSeconds, firstToken };
  if (frame.type === FRAME.blocks) {
    const hashes = chain.digestRange(0, blocks + count);
    const request = { tenant, hashes, firstBlock: blocks, tokens: text.tokens, ttlSeconds };
    const written = await parts.kv.plain.write(request, count, payload.sections);
    if (written.ok) taking.blocks += count;
    else taking.reason = 'store_unavailable';
  } else {
    const endToken = firstToken + payload.tokenCount;
    const hash = chain.tailDigest(text.tokens, endToken);
    const tail = {
      ...place,
      sessionId: state.id,
      parentHash: chain.parentOf(blocks),
      hash,
      tokenCount: payload.tokenCount,
    };
    const written = await parts.kv.plain.writeTail(tail, payload.sections);
    if (written.ok) taking.tail = { endToken, objectKey: written.value.objectKey };
    else taking.reason = 'store_unavailable';
  }
  if (taking.reason === null) taking.bytes += frame.payload.length;
}

/** Commits what was taken where that is all of it, else computes the rest as a prefill does. */
async function settle(
  parts: WorkerParts,
  turns: SessionTurns,
  request: ImportRequest,
  taking: Taking,
  signal: AbortSignal,
): Promise<ImportAnswer> {
  const { tenant, state, text, chain, blocks, tail } = taking;
  const tokens = [...text.tokens];
  const endToken = tail?.endToken ?? blocks * BLOCK_TOKENS;
  const kept: KeptKv = {
    keptTokens: endToken,
    tailObjectKey: tail?.objectKey ?? null,
    headHash: blocks === 0 ? null : chain.parentOf(blocks),
  };
  // The last token of an answer has no KV: the next turn computes it in any case.
  const isWhole = endToken >= tokens.length - 1;
  const { requestId } = request;
  const { transcript, marks } = text;
  let cachedTokens = endToken;
  if (isWhole) {
    const taken = { ...state, ...kept, namespace: toHex(parts.kv.namespace) };
    await turns.commit(taken, tenant, undefined, {
      requestId,
      tokens,
      transcript,
      marks: [...marks],
      sharedTokens: tokens.length,
      promptTokens: tokens.length,
      cachedTokens,
      completionTokens: 0,
      finishReason: 'import',
      tier: 'none',
      ttftMs: 0,
    });
  } else {
    const prompt = { tokens, rendered: transcript, marks: [...marks] };
    const { usage } = await prefillTokens(parts, turns, {
      requestId,
      cache: { read: true, write: true },
      tenant,
      state,
      prompt,
      finishReason: 'import',
      arrivedAt: parts.now(),
      signal,
      emit: () => {},
    });
    cachedTokens = usage.cachedTokens;
  }
  return {
    tokenCount: tokens.length,
    blocksImported: blocks,
    blocksTotal: Math.floor(tokens.length / BLOCK_TOKENS),
    recomputedTokens: isWhole ? 0 : tokens.length - cachedTokens,
    bytes: taking.bytes,
    reason: taking.reason ?? (isWhole ? null : 'not_in_file'),
  };
}

const misplaced = () =>
  new LongshoreError('invalid_request', 'The session file’s parts do not belong together. Export the session again.');

const damagedSeal = () =>
  new LongshoreError('invalid_request', 'The session file is damaged: not all of its seals are of one origin.');

import { BLOCK_TOKENS, type Engine } from '@longshore/native';
import { Conversation } from './conversation.ts';
import type { Outcome } from './score.ts';
import type { Context, Dialect } from './task.ts';

/** Tokens of a prefill step: whole blocks, enough for sparse attention to pay. */
export const CHUNK = 2048;
const AT_ONCE = 32;

export interface Answered {
  outcomes: Outcome[];
  prefillMs: number;
  askMs: number;
  /** Engine counters over the prefill and over the questions; fields of EngineStats that are numbers. */
  prefill: Record<string, number>;
  ask: Record<string, number>;
}

const blocksOf = (tokens: number): number => Math.ceil(tokens / BLOCK_TOKENS);

/** Physical blocks that `ask` needs for a context. */
export function blocksFor(context: Context): number {
  const own = Math.max(0, ...context.dialogues.map((turns) => blocksOf(Conversation.most(turns))));
  return blocksOf(context.tokens.length) + AT_ONCE * own;
}

function counters(engine: Engine): Record<string, number> {
  const entries = Object.entries(engine.stats()).filter(
    (entry): entry is [string, number] => typeof entry[1] === 'number',
  );
  return Object.fromEntries(entries);
}

function difference(after: Record<string, number>, before: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(after).map(([key, value]) => [key, value - (before[key] ?? 0)]));
}

/**
 * Prefills the context once, scoring its probes where they stand, then asks every dialogue of the same blocks: each one's own tokens go
 * into blocks of its own. The context must be whole blocks. `id` names the context in the outcomes. `decoded`: questions go
 * in a token a step, so that every one of their tokens is decoded.
 */
export async function ask(
  engine: Engine,
  dialect: Dialect,
  context: Context,
  id: string,
  decoded = false,
): Promise<Answered> {
  const { vocab, eosIds } = engine.info;
  const length = context.tokens.length;
  if (length % BLOCK_TOKENS !== 0) throw new Error(`a context of ${length} tokens is not whole blocks`);
  const prefix = Array.from({ length: blocksOf(length) }, (_, block) => block);
  const before = counters(engine);
  const started = performance.now();
  const outcomes: Outcome[] = [];
  for (let position = 0; position < length; position += CHUNK) {
    const tokens = Uint32Array.from(context.tokens.slice(position, position + CHUNK));
    const here = context.probes.filter(
      (probe) => probe.position + probe.answer.length > position && probe.position < position + CHUNK,
    );
    const [output] = await engine.step([
      { tokens, position, blockTable: Uint32Array.from(prefix), wantLogits: here.length > 0 },
    ]);
    scoreProbes(context, id, position, tokens.length, vocab, output?.logits, outcomes);
  }
  const prefilled = performance.now();
  const middle = counters(engine);

  const own = Math.max(0, ...context.dialogues.map((turns) => blocksOf(Conversation.most(turns))));
  const free = Array.from({ length: AT_ONCE }, (_, slot) =>
    Array.from({ length: own }, (_, block) => prefix.length + slot * own + block),
  );
  const ends = new Set(eosIds);
  const waiting = context.dialogues.map((turns, index) => ({ turns, id: `${id}.${index}` })).reverse();
  let active: Conversation[] = [];
  while (waiting.length > 0 || active.length > 0) {
    while (waiting.length > 0 && free.length > 0) {
      const { turns, id: name } = waiting.pop()!;
      active.push(new Conversation(turns, dialect, name, length, [...prefix, ...free.pop()!], decoded ? 1 : CHUNK));
    }
    const batch: Conversation[] = [];
    let tokens = 0;
    for (const one of active) {
      if (batch.length > 0 && tokens + one.tokens > CHUNK) break;
      batch.push(one);
      tokens += one.tokens;
    }
    const outputs = await engine.step(batch.map((one) => one.item()));
    for (const [index, one] of batch.entries()) {
      const token = outputs[index]!.token!;
      one.take(token, ends.has(token));
      if (!one.finished) continue;
      outcomes.push(...one.outcomes);
      free.push(one.blocks.slice(prefix.length));
    }
    active = active.filter((one) => !one.finished);
  }
  return {
    outcomes,
    prefillMs: prefilled - started,
    askMs: performance.now() - prefilled,
    prefill: difference(middle, before),
    ask: difference(counters(engine), middle),
  };
}

/** Turns what the chunk's logits say of each probe into outcomes; a probe that crosses chunks is right when all its parts are. */
function scoreProbes(
  context: Context,
  id: string,
  position: number,
  count: number,
  vocab: number,
  logits: Float32Array | undefined,
  outcomes: Outcome[],
): void {
  for (const [index, probe] of context.probes.entries()) {
    const name = `${id}.p${index}`;
    for (const [at, expected] of probe.answer.entries()) {
      const row = probe.position + at - position;
      if (row < 0 || row >= count) continue;
      const correct = largest(logits!, row * vocab, vocab) === expected;
      const known = at === 0 ? undefined : outcomes.find((outcome) => outcome.id === name);
      if (known === undefined) outcomes.push({ id: name, correct, depth: probe.depth, turn: 1 });
      else known.correct &&= correct;
    }
  }
}

function largest(logits: Float32Array, from: number, count: number): number {
  let best = 0;
  for (let id = 1; id < count; id++) if (logits[from + id]! > logits[from + best]!) best = id;
  return best;
}

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { seededRandom } from '../../workers-gpu/src/domain/seeded-random.ts';
import { openWorkerBench, type RunningWorker } from '../../workers-gpu/src/testing/worker-bench.ts';
import { areaUnderCurve, standardErrorOfNoDifference } from './auc.ts';

const MODEL = fileURLToPath(new URL('../../infra/fixture-model', import.meta.url));
/** 12 blocks and a few tokens: computing them takes several times what finding them takes, even on the smallest model. */
const PROMPT_TOKENS = 12 * 128 + 20;
const MEGABYTE = 1024 ** 2;

/**
 * `stored`: the other tenant's request for the prompt has ended, and is on the device, in host memory, on disk and in the object store.
 * `in_flight`: it is being computed right now, under a lease. `own`: the same tenant asked before; the positive control.
 */
export type Situation = 'stored' | 'in_flight' | 'own';

export interface Separation {
  situation: Situation;
  /** Pairs of probes: one of a prompt that was asked for before, one of a fresh prompt of the same length. */
  pairs: number;
  auc: number;
  /** Of the area if nothing can be told. */
  standardError: number;
  medianKnownMs: number;
  medianFreshMs: number;
}

/**
 * Times a tenant's requests on one worker with its real HTTP surface, Postgres, object store, host and disk tiers. Before each probe the
 * other tenant asks for the same prompt, or for another one of the same length, so that the load is the same; in random order.
 */
export async function measureSeparation(situations: readonly Situation[], pairs: number): Promise<Separation[]> {
  const bench = await openWorkerBench();
  const folder = await mkdtemp(join(tmpdir(), 'longshore-timing-'));
  try {
    const worker = await bench.worker('timed', {
      model: MODEL,
      tiers: { hostBytes: 64 * MEGABYTE, diskBytes: 256 * MEGABYTE, diskFolder: folder, writeThrough: true },
    });
    const random = seededRandom(11);
    const victim = await bench.organization();
    const attacker = await bench.organization();
    const results: Separation[] = [];
    for (const situation of situations) {
      const known: number[] = [];
      const fresh: number[] = [];
      for (let pair = -2; pair < pairs; pair++) {
        const order = random(2) === 0 ? [true, false] : [false, true];
        for (const isKnown of order) {
          const prompt = randomPrompt(random);
          const ms = await probe(
            worker,
            situation,
            { victim, attacker },
            prompt,
            isKnown ? prompt : randomPrompt(random),
          );
          // The first pairs warm up the code.
          if (pair >= 0) (isKnown ? known : fresh).push(ms);
        }
      }
      results.push({
        situation,
        pairs,
        auc: areaUnderCurve(known, fresh),
        standardError: standardErrorOfNoDifference(pairs, pairs),
        medianKnownMs: median(known),
        medianFreshMs: median(fresh),
      });
    }
    return results;
  } finally {
    await bench.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Milliseconds that the attacker waits for `prompt` after the other tenant (for `own`: itself) has asked for `before`. */
async function probe(
  worker: RunningWorker,
  situation: Situation,
  tenants: { victim: string; attacker: string },
  prompt: number[],
  before: number[],
): Promise<number> {
  const { kv } = worker.worker.parts;
  const earlier = ask(worker, situation === 'own' ? tenants.attacker : tenants.victim, before);
  if (situation !== 'in_flight') {
    await earlier;
    await kv.flush(20_000);
  }
  const startedAt = performance.now();
  await ask(worker, tenants.attacker, prompt);
  const ms = performance.now() - startedAt;
  await earlier;
  await kv.flush(20_000);
  return ms;
}

async function ask(worker: RunningWorker, organizationId: string, tokens: number[]): Promise<void> {
  const answer = await worker.generate({
    organizationId,
    input: { kind: 'tokens', tokens },
    maxTokens: 1,
    ignoreEos: true,
    sampling: { temperature: 0 },
  });
  if (answer.done === undefined) throw new Error(`no answer: ${answer.error?.message}`);
}

const randomPrompt = (random: (below: number) => number): number[] =>
  Array.from({ length: PROMPT_TOKENS }, () => 20 + random(900));

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

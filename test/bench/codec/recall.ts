import type { Engine } from '@longshore/native';
import { carry, Pool, prefill, type Treatment } from './pool.ts';

/** A long prefix and what is asked about it: each answer stands somewhere in the prefix, word for word. */
export interface Exam {
  /** Whole blocks. */
  prefix: Uint32Array;
  questions: { tokens: Uint32Array; answer: Uint32Array }[];
}

export function recallPool(exams: readonly Exam[]): Pool {
  return new Pool(1, exams[0]!.prefix.length + 128);
}

/** Questions answered exactly under each treatment; each is asked alone, behind the treated prefix. All prefixes have one length. */
export async function recall(
  engine: Engine,
  exams: readonly Exam[],
  treatments: readonly Treatment[],
): Promise<Map<Treatment, number>> {
  const pool = recallPool(exams);
  const [computed, restored] = [pool.table(0, 0), pool.table(0, 1)];
  const exact = new Map<Treatment, number>(treatments.map((treatment) => [treatment, 0]));
  for (const { prefix, questions } of exams) {
    await prefill(engine, prefix, computed);
    for (const treatment of treatments) {
      await carry(engine, computed, restored, prefix.length / 128, treatment);
      for (const question of questions)
        if (await isAnswered(engine, prefix.length, question, restored))
          exact.set(treatment, exact.get(treatment)! + 1);
    }
  }
  return exact;
}

/** Whether greedy decoding gives the answer: then each of its tokens is the choice behind those before it. */
async function isAnswered(
  engine: Engine,
  position: number,
  { tokens, answer }: Exam['questions'][number],
  blockTable: Uint32Array,
): Promise<boolean> {
  const all = Uint32Array.from([...tokens, ...answer.slice(0, -1)]);
  const [output] = await engine.step([{ tokens: all, position, blockTable, wantLogits: true }]);
  const { vocab } = engine.info;
  return answer.every((id, at) => {
    const row = tokens.length - 1 + at;
    const logits = output!.logits!.subarray(row * vocab, (row + 1) * vocab);
    return logits.every((logit, other) => other === id || logit < logits[id]!);
  });
}

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Random } from '../../eval/random.ts';
import type { Dialect } from '../../eval/task.ts';
import { PAIR_TASKS } from '../../eval/tasks/pairs.ts';
import { needleModel, runEngine } from './engine.ts';

/** The needle model's: one byte is one token, four special ids before them. */
const DIALECT: Dialect = {
  name: 'pairs',
  begin: [1],
  encode: async (text) => [...Buffer.from(text, 'latin1')].map((byte) => byte + 4),
  decode: (tokens) => Buffer.from(tokens.map((token) => token - 4)).toString('latin1'),
  stop: ';',
};
const DATA = { pairs: 'kv_retrieval', filler: 'needle_single' } as const;

/** Policies of about the same bytes read; what `--blocks` reads is whole blocks of 128 keys. */
const POLICIES = [
  ['--decode-policy', 'sketch_topk'],
  ['--decode-policy', 'block_topk', '--blocks', '0.0225'],
];

/**
 * sparse_decode lines: dense and sparse decode of the same questions after the same context, attention's time a token, and what the
 * policy read. Nothing without the needle model.
 */
export async function* benchDecode(
  length: number,
  options: { threads: string; questions: number; measure: boolean },
): AsyncGenerator<object> {
  const model = needleModel();
  if (!model) return;
  const folder = await mkdtemp(join(tmpdir(), 'longshore-bench-'));
  try {
    for (const data of ['pairs', 'filler'] as const) {
      const task = PAIR_TASKS.find(({ name }) => name === DATA[data])!;
      const random = new Random(`decode/${data}/${length}`);
      const context = await task.context({ dialect: DIALECT, random, length, questions: options.questions });
      await writeFile(join(folder, 'context'), context.tokens.join(','));
      const lines = context.dialogues.map(([question]) =>
        JSON.stringify({
          prompt_ids: question!.prompt,
          answer_ids: [...Buffer.from(question!.answers[0]!, 'latin1')].map((byte) => byte + 4),
        }),
      );
      await writeFile(join(folder, 'questions'), lines.join('\n'));
      for (const policy of POLICIES) {
        const files = ['--context', join(folder, 'context'), '--questions', join(folder, 'questions')];
        const more = options.measure ? ['--measure'] : [];
        const output = await runEngine('decode', [
          '--model',
          model,
          // Both decode after the same KV; computed sparsely it is there in a tenth of the time.
          '--policy',
          'block_energy',
          ...files,
          '--threads',
          options.threads,
          ...policy,
          '--decode-min',
          '1024',
          ...more,
        ]);
        yield { ...(JSON.parse(output) as object), data };
      }
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

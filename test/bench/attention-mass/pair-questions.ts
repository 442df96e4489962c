import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Random } from '../../eval/random.ts';
import type { Dialect } from '../../eval/task.ts';
import { PAIR_TASKS } from '../../eval/tasks/pairs.ts';

/** The needle model's: one byte is one token, four special ids before them. */
const encode = (text: string): number[] => [...Buffer.from(text, 'latin1')].map((byte) => byte + 4);
const DIALECT: Dialect = {
  name: 'pairs',
  begin: [1],
  encode: async (text) => encode(text),
  decode: (tokens) => Buffer.from(tokens.map((token) => token - 4)).toString('latin1'),
  stop: ';',
};

/** A context of a pair task as the native engine's files: token ids, and questions as {"prompt_ids", "answer_ids"} lines. Deterministic. */
export async function writePairQuestions(
  folder: string,
  name: 'kv_retrieval' | 'needle_single',
  length: number,
  questions: number,
): Promise<{ context: string; questions: string }> {
  const task = PAIR_TASKS.find((one) => one.name === name)!;
  const random = new Random(`${name}/${length}`);
  const context = await task.context({ dialect: DIALECT, random, length, questions });
  const files = { context: join(folder, 'context'), questions: join(folder, 'questions') };
  await writeFile(files.context, context.tokens.join(','));
  const lines = context.dialogues.map(([question]) =>
    JSON.stringify({ prompt_ids: question!.prompt, answer_ids: encode(question!.answers[0]!) }),
  );
  await writeFile(files.questions, lines.join('\n'));
  return files;
}

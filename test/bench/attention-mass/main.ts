/**
 * Attention mass in so many keys, chosen for every query or once for all, after a context of key-value pairs; JSON lines, and a plot:
 *   npm run bench:attention-mass -- [--length 100000] [--questions 16] [--policy default] [--threads 0 (all)] [--plot FILE.svg]
 *   npm run bench:attention-mass -- --from LINES.jsonl --plot FILE.svg
 * `dynamic`: the best keys of each query. `static_average`: those with most attention over the prefill's queries (one in 256),
 * `static_last`: over its last 64 queries, `static_first_question`: over the first question's tokens; the others are counted. Means over
 * layers, heads and tokens. Needs `npm run build` and the needle model; 100,000 tokens take two minutes and 1 GB.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { svg } from '../../eval/report/plot.ts';
import { needleModel, runEngine } from '../sparse/engine.ts';
import { writePairQuestions } from './pair-questions.ts';

interface MassLine {
  n: number;
  choice: string;
  keys: number;
  mass: number;
}

const { values } = parseArgs({
  options: {
    length: { type: 'string', default: '100000' },
    questions: { type: 'string', default: '16' },
    policy: { type: 'string', default: 'default' },
    threads: { type: 'string', default: '0' },
    plot: { type: 'string' },
    from: { type: 'string' },
  },
});

async function measure(): Promise<string> {
  const model = needleModel();
  if (!model) throw new Error('no needle model: name its folder in LONGSHORE_EVAL_NEEDLE');
  const folder = await mkdtemp(join(tmpdir(), 'longshore-mass-'));
  try {
    // One more: the first question is a static choice.
    const files = await writePairQuestions(folder, 'kv_retrieval', Number(values.length), Number(values.questions) + 1);
    const { policy, threads } = values;
    const options = ['--model', model, '--policy', policy, '--threads', threads];
    return await runEngine('attention-mass', [...options, '--context', files.context, '--questions', files.questions]);
  } finally {
    await rm(folder, { recursive: true });
  }
}

const output = values.from ? await readFile(values.from, 'utf8') : await measure();
if (!values.from) process.stdout.write(output);
if (values.plot) {
  const lines = output
    .split('\n')
    .filter((text) => text.startsWith('{'))
    .map((text) => JSON.parse(text) as MassLine);
  const choices = [...new Set(lines.map(({ choice }) => choice))];
  await writeFile(
    values.plot,
    svg({
      title: `Attention mass by keys chosen, ${lines[0]!.n} tokens of pairs`,
      x: 'keys',
      y: 'mass, %',
      logX: true,
      shownY: [0, 100],
      joined: true,
      series: choices.map((name) => ({
        name: name.replaceAll('_', ' '),
        points: lines.filter(({ choice }) => choice === name).map(({ keys, mass }) => [keys, 100 * mass] as const),
      })),
    }),
  );
}

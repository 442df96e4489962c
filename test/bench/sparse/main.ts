/**
 * Sparse against dense attention on this machine, one JSON object per line: npm run bench:sparse -- --json
 *   [--lengths 1024,8192,32768,131072] [--policy default] [--decode 65536] [--questions 64] [--measure] [--threads 0 (all)]
 * Prefill at the lengths under the policy, then decode after contexts of `--decode` tokens (0: none); `--measure` also tells the
 * attention mass that decode keeps, which takes minutes.
 * `--json` leaves out the progress lines. Needs `npm run build`, and a model: SmolLM2 (models pull) or the needle model.
 */
import { parseArgs } from 'node:util';
import { benchDecode } from './decode-attention.ts';
import { benchPrefill, prefillCases } from './prefill-attention.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    lengths: { type: 'string', default: '1024,8192,32768,131072' },
    policy: { type: 'string', default: 'default' },
    decode: { type: 'string', default: '65536' },
    questions: { type: 'string', default: '64' },
    measure: { type: 'boolean', default: false },
    threads: { type: 'string', default: '0' },
  },
});

const lengths = values.lengths.split(',').map(Number).filter(Boolean);
const cases = await prefillCases(lengths);
if (lengths.length > 0 && cases.length === 0)
  throw new Error('no model: run "npm run longshore -- models pull smollm2-135m-instruct"');
for (const one of cases) {
  if (!values.json) process.stderr.write(`${one.data}, ${one.tokens.length} tokens\n`);
  console.log(JSON.stringify(await benchPrefill(one, values)));
}

const { threads, measure } = values;
if (Number(values.decode) > 0)
  for await (const line of benchDecode(Number(values.decode), {
    threads,
    measure,
    questions: Number(values.questions),
  }))
    console.log(JSON.stringify(line));

/**
 * Sparse against dense attention on this machine, one JSON object per line: npm run bench:sparse -- --json
 *   [--lengths 1024,8192,32768,131072] [--policy default] [--threads 0 (all)]
 * `--json` leaves out the progress lines. Needs `npm run build`, and a model: SmolLM2 (models pull) or the needle model.
 */
import { parseArgs } from 'node:util';
import { benchPrefill, prefillCases } from './prefill-attention.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    lengths: { type: 'string', default: '1024,8192,32768,131072' },
    policy: { type: 'string', default: 'default' },
    threads: { type: 'string', default: '0' },
  },
});

const cases = await prefillCases(values.lengths.split(',').map(Number));
if (cases.length === 0) throw new Error('no model: run "npm run longshore -- models pull smollm2-135m-instruct"');
for (const one of cases) {
  if (!values.json) process.stderr.write(`${one.data}, ${one.tokens.length} tokens\n`);
  console.log(JSON.stringify(await benchPrefill(one, values)));
}

import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { silentProgress } from '@longshore/infra';
import { startTestPlatform } from '../../harness/platform.ts';
import { type Case, ConvoyBench, type Phase } from './convoy.ts';

/**
 * `npm run bench:convoy -- --json`: many requests at once that share a long prefix, over two real workers, a real S3 and Postgres,
 * against one request alone: cold, then restored from S3 by fresh workers; then the death of a worker that prefills while another
 * follows it. One JSON object per line with --json. About 4
 * minutes. Exit code 1 when a cold convoy computed a shared block more than once, a takeover took more than
 * 3 s, or gave other tokens than an uncached run.
 *
 *   --clients 50 --tokens 4096 --answer 4 --runs 3 --workers 2 --phase takeover|cold|restore --case question|identical --model smollm2|fixture
 */
const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    clients: { type: 'string', default: '50' },
    tokens: { type: 'string', default: '4096' },
    answer: { type: 'string', default: '4' },
    runs: { type: 'string', default: '3' },
    workers: { type: 'string', default: '2' },
    phase: { type: 'string' },
    case: { type: 'string' },
    model: { type: 'string', default: 'smollm2' },
    // On a loaded machine a leader is late without being stuck; 0 keeps the product's own patience.
    'slack-ms': { type: 'string', default: '0' },
  },
});

const phases = (['cold', 'restore'] as Phase[]).filter((one) => values.phase === undefined || values.phase === one);
const cases = (values.case === undefined ? ['question', 'identical'] : [values.case]) as Case[];
const clients = Number(values.clients);

await using platform = await startTestPlatform({
  model: values.model === 'fixture' ? 'fixture' : 'smollm2',
  workers: Number(values.workers),
  env: {
    LONGSHORE_MAX_RUNNING: String(Math.max(16, clients)),
    ...(values['slack-ms'] === '0'
      ? {}
      : { LONGSHORE_FOLLOW_SLACK_MS: values['slack-ms'], LONGSHORE_LEASE_MS: values['slack-ms'] }),
  },
  progress: silentProgress,
});
const bench = new ConvoyBench(platform, {
  clients,
  tokens: Number(values.tokens),
  maxTokens: Number(values.answer),
  runs: Number(values.runs),
});
const MOST_TAKEOVER_MS = 3000;
let kept = true;
const print = (result: object, text: string) => {
  if (values.json) console.log(JSON.stringify({ ...result, model: platform.model.name, cores: cpus().length }));
  else console.log(text);
};
for (const phase of phases) {
  for (const which of cases) {
    const result = await bench.run(phase, which);
    // A restore may compute blocks beside what it loads, where that is faster: only a cold convoy promises a count.
    if (phase === 'cold') kept &&= result.prefills_per_block === 1;
    print(result, line(result));
  }
}
if (values.phase === undefined || values.phase === 'takeover') {
  const result = await bench.takeover(4);
  kept &&= result.same_tokens && result.takeover_ms <= MOST_TAKEOVER_MS;
  print(result, `takeover: ${result.takeover_ms} ms after the dead worker's last sign of life`);
}
process.exitCode = kept ? 0 : 1;

function line(result: Awaited<ReturnType<ConvoyBench['run']>>): string {
  const { phase, case: which, clients: many, p99_ratio: ratio, prefills_per_block: prefills } = result;
  return (
    `${phase}, ${which}: ${many} requests, p99 TTFT ${result.p99_ttft_ms} ms = ${ratio} x one alone (${result.single_ttft_ms} ms); ` +
    `each shared block computed ${prefills} times, read ${result.restores_per_block} times`
  );
}

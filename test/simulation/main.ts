import { parseArgs } from 'node:util';
import { Day } from './day.ts';

/**
 * `npm run simulate -- --json`: 24 simulated hours of mixed traffic of 200 organizations, each wanting more than its quota, over real
 * publishers, restorers, tiers and sweepers on a virtual clock. Workers die, objects get lost, organizations are deleted. It fails at
 * the first moment at which a tier exceeds its budget, a pinned block is lost, a living block lacks its parent or a restored block has
 * other bytes; at the end nothing may be left over and every bill must equal the integral of the bytes held. About a minute. Times in
 * simulated milliseconds, sizes in bytes. The same seed is the same day.
 *
 *   --seed 1 --hours 24 --organizations 200 --requests 3 (of each organization, an hour)
 */
const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    seed: { type: 'string', default: '1' },
    hours: { type: 'string', default: '24' },
    organizations: { type: 'string', default: '200' },
    requests: { type: 'string', default: '3' },
  },
});
const options = {
  seed: Number(values.seed),
  hours: Number(values.hours),
  organizations: Number(values.organizations),
  requestsPerHour: Number(values.requests),
};
const started = performance.now();
const report = await new Day(options).run();
const seconds = Math.round((performance.now() - started) / 100) / 10;
if (values.json) console.log(JSON.stringify({ bench: 'simulation', ...options, ...report, seconds }));
else {
  for (const [name, value] of Object.entries(report)) console.log(`${name.padEnd(22)} ${value}`);
  console.log(`everything held; ${seconds} s`);
}

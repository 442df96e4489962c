import { parseArgs } from 'node:util';
import { measureSeparation } from './probe.ts';

/**
 * `npm run probe:timing [-- --json --pairs 400]`: can a tenant tell from times whether another one has a prompt cached? Exit code 1 when
 * the area under the curve is above 0.55 by more than its error explains, or when the positive control does not show.
 */
const CLAIM = 0.55;
/** One-sided, 99 %. */
const Z = 2.33;

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, pairs: { type: 'string', default: '400' } },
});
const pairs = Number(values.pairs);
if (!Number.isInteger(pairs) || pairs < 2) {
  process.stderr.write('probe:timing: --pairs needs a whole number from 2 on\n');
  process.exit(1);
}
let kept = true;
for (const result of await measureSeparation(['stored', 'in_flight', 'own'], pairs)) {
  const { situation, auc, standardError, medianKnownMs, medianFreshMs } = result;
  const margin = Z * standardError;
  const ok = situation === 'own' ? auc > 0.9 : auc - margin <= CLAIM;
  kept &&= ok;
  const rounded = {
    bench: 'timing',
    situation,
    pairs,
    auc: Number(auc.toFixed(4)),
    margin: Number(margin.toFixed(4)),
    median_known_ms: Number(medianKnownMs.toFixed(2)),
    median_fresh_ms: Number(medianFreshMs.toFixed(2)),
    ok,
  };
  const line = `${situation}: area ${rounded.auc} (margin ${rounded.margin}), medians ${rounded.median_known_ms} and ${rounded.median_fresh_ms} ms${ok ? '' : ': NOT KEPT'}`;
  process.stdout.write(`${values.json ? JSON.stringify(rounded) : line}\n`);
}
process.exit(kept ? 0 : 1);

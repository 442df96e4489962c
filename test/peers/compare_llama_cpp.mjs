// This engine against llama.cpp on the same GGUF file, the same threads, in the same minutes: runs both alternately and prints, per
// length, the median of the ratios of each pair of runs (ours / theirs, tokens per second), one JSON object per line.
//
// Run: node compare_llama_cpp.mjs --model MODEL.gguf [--rounds 3] [--prefill 512,2048,8192] [--decode 64] [--threads 2] [--flash] [--folder PEERS]
//      [--native PATH of longshore-native]     (default: native/build/longshore-native)
// Each round is a fresh process on either side; who goes first changes from round to round. Keep the machine otherwise idle.
import { execFileSync } from 'node:child_process';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    prefill: { type: 'string', default: '512,2048,8192' },
    decode: { type: 'string', default: '64' },
    repeat: { type: 'string', default: '1' },
    threads: { type: 'string', default: '2' },
    flash: { type: 'boolean', default: false },
    folder: { type: 'string' },
    native: { type: 'string', default: fileURLToPath(new URL('../../native/build/longshore-native', import.meta.url)) },
  },
});
if (!values.model) {
  console.error(
    'usage: node compare_llama_cpp.mjs --model MODEL.gguf [--rounds 3] [--prefill 512,2048,8192] [--flash]',
  );
  process.exit(2);
}

const work = [
  '--model',
  values.model,
  '--prefill',
  values.prefill,
  '--decode',
  values.decode,
  '--repeat',
  values.repeat,
  '--threads',
  values.threads,
];

function lines(command, commandArguments) {
  const text = execFileSync(command, commandArguments, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1 << 24,
  });
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

function ours() {
  return lines(values.native, ['bench', ...work]);
}

function theirs() {
  const script = fileURLToPath(new URL('./llama_cpp.mjs', import.meta.url));
  const more = [...(values.flash ? ['--flash'] : []), ...(values.folder ? ['--folder', values.folder] : [])];
  return lines(process.execPath, [script, ...work, ...more]);
}

function median(numbers) {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];
}

const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
  encoding: 'utf8',
  cwd: new URL('.', import.meta.url),
}).trim();
const pairs = new Map();
for (let round = 0; round < Number(values.rounds); round++) {
  const first = round % 2 === 0 ? ours() : theirs();
  const second = round % 2 === 0 ? theirs() : ours();
  const [mine, peer] = round % 2 === 0 ? [first, second] : [second, first];
  for (const line of mine) {
    const twin = peer.find((other) => other.bench === line.bench && other.n === line.n);
    if (!twin) throw new Error(`llama_cpp.mjs printed no line for ${line.bench} ${line.n}`);
    const key = `${line.bench} ${line.n}`;
    pairs.set(key, [...(pairs.get(key) ?? []), { line, twin }]);
  }
}
for (const list of pairs.values()) {
  const { line, twin } = list[0];
  const ratios = list.map((pair) => pair.line.tokens_per_s / pair.twin.tokens_per_s);
  const result = {
    bench: line.bench,
    n: line.n,
    ratio: Number(median(ratios).toFixed(3)),
    ratio_min: Number(Math.min(...ratios).toFixed(3)),
    ratio_max: Number(Math.max(...ratios).toFixed(3)),
    ours_tokens_per_s: median(list.map((pair) => pair.line.tokens_per_s)),
    theirs_tokens_per_s: median(list.map((pair) => pair.twin.tokens_per_s)),
    rounds: list.length,
    threads: line.threads,
    isa: line.isa,
    kv_dtype: line.kv_dtype,
    peer: twin.peer,
    peer_kv_dtype: twin.kv_dtype,
    peer_flash: twin.flash,
    weights: line.weights,
    model: line.model,
    machine: cpus()[0].model,
    commit,
  };
  console.log(JSON.stringify(result));
}

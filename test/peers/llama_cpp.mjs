// llama.cpp's speed on this machine, through node-llama-cpp: prefill and decode of one GGUF file, one JSON object per line with
// the fields of `longshore-native bench`.
//
// Run: node llama_cpp.mjs --model MODEL.gguf [--prefill 512,2048,8192] [--decode 64] [--repeat 3] [--threads 2] [--flash] [--folder PEERS]
//
// CPU only, prebuilt binaries, f16 KV, batches of 512 (llama.cpp's default). A prefill is timed on an empty context, the median of
// `repeat` runs after one that warms up; the decode behind it draws greedily. --flash turns flash attention on.
import { parseArgs } from 'node:util';
import { ensurePeer, importPeer, peerFolder } from './peer_package.mjs';

const PACKAGE = 'node-llama-cpp';
const VERSION = '3.22.1';

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    prefill: { type: 'string', default: '512,2048,8192' },
    decode: { type: 'string', default: '64' },
    repeat: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
    flash: { type: 'boolean', default: false },
    folder: { type: 'string' },
  },
});
if (!values.model) {
  console.error(
    'usage: node llama_cpp.mjs --model MODEL.gguf [--prefill 512,2048] [--decode 64] [--threads 2] [--flash]',
  );
  process.exit(2);
}
const threads = Number(values.threads);
const decode = Number(values.decode);
const repeat = Number(values.repeat);

const folder = peerFolder(values.folder);
ensurePeer(folder, PACKAGE, VERSION);
const { getLlama } = await importPeer(folder, PACKAGE);
const llama = await getLlama({ gpu: false, build: 'never', maxThreads: threads, logLevel: 'error' });
const model = await llama.loadModel({ modelPath: values.model, useMmap: true });
const vocabulary = model.fileInfo.metadata.tokenizer.ggml.tokens.length;

function median(sorted) {
  return sorted.toSorted((a, b) => a - b)[Math.floor(sorted.length / 2)];
}

function report(bench, n, tokens, ms) {
  const middle = median(ms);
  const line = {
    bench,
    n,
    tokens,
    tokens_per_s: Number(((1000 * tokens) / middle).toFixed(1)),
    ms: Number(middle.toFixed(3)),
  };
  const setting = {
    ms_min: Number(Math.min(...ms).toFixed(3)),
    repeats: ms.length,
    threads,
    flash: values.flash,
    kv_dtype: 'f16',
  };
  console.log(JSON.stringify({ ...line, ...setting, peer: `${PACKAGE} ${VERSION}`, model: model.filename }));
}

for (const n of values.prefill.split(',').map(Number)) {
  const context = await model.createContext({
    contextSize: n + decode + 16,
    batchSize: 512,
    threads,
    flashAttention: values.flash,
  });
  const sequence = context.getSequence();
  const tokens = Array.from({ length: n }, (_, i) => 10 + ((i * 7919) % (vocabulary - 10)));
  const prefillMs = [];
  const decodeMs = [];
  for (let run = 0; run <= repeat; run++) {
    await sequence.clearHistory();
    const start = performance.now();
    // The last token's logits belong to the prefill: the first token drawn ends it.
    const output = sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true });
    await output.next();
    const prefilled = performance.now();
    for (let i = 0; i < decode; i++) await output.next();
    const end = performance.now();
    await output.return?.();
    if (run === 0) continue;
    prefillMs.push(prefilled - start);
    decodeMs.push(end - prefilled);
  }
  report('prefill', n, n, prefillMs);
  if (decode > 0) report('decode', n, decode, decodeMs);
  await context.dispose();
}
process.exit(0);

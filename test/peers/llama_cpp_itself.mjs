// llama.cpp against itself: the greedy continuation of the golden prompts with its KV cache in f16 and in f32, everything else equal.
// Prints per prompt the first step at which the two texts part, and how far the gaps between the two best logits differ until then
// (root mean square): the noise below which no other implementation of 8-bit activations can be asked to agree with it.
//
// Run: node llama_cpp_itself.mjs MODEL.gguf FOLDER [most prompt tokens, default 400]     (FOLDER holds node_modules/node-llama-cpp,
// made by test/golden/make_llama_cpp_golden.mjs)
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modelPath, folder, longest = '400'] = process.argv.slice(2);
if (!modelPath || !folder) {
  console.error('usage: node llama_cpp_itself.mjs MODEL.gguf FOLDER [most prompt tokens]');
  process.exit(2);
}
const peer = createRequire(join(resolve(folder), 'package.json')).resolve('node-llama-cpp');
const { getLlama } = await import(pathToFileURL(peer).href);
const golden = JSON.parse(readFileSync(new URL('../golden/smollm2-greedy.json', import.meta.url), 'utf8'));
const llama = await getLlama({ gpu: false, build: 'never', maxThreads: 2, logLevel: 'error' });
const model = await llama.loadModel({ modelPath: resolve(modelPath), useMmap: true });

async function greedy(prompt, kvType) {
  const context = await model.createContext({
    contextSize: prompt.length + golden.steps + 16,
    batchSize: 512,
    threads: 2,
    flashAttention: false,
    experimentalKvCacheKeyType: kvType,
    experimentalKvCacheValueType: kvType,
  });
  const tokens = [];
  const gaps = [];
  const options = { temperature: 0, yieldEogToken: true };
  for await (const step of context.getSequence().evaluateWithMetadata(prompt, { probabilities: true }, options)) {
    const [[, best], [, second]] = step.probabilities.entries();
    tokens.push(step.token);
    gaps.push(Math.log(best) - Math.log(second));
    if (tokens.length === golden.steps) break;
  }
  await context.dispose();
  return { tokens, gaps };
}

let parted = 0;
const cases = golden.cases.filter(({ prompt }) => prompt.length <= Number(longest));
for (const { name, prompt } of cases) {
  const [half, full] = [await greedy(prompt, 'F16'), await greedy(prompt, 'F32')];
  const at = half.tokens.findIndex((token, step) => token !== full.tokens[step]);
  const equal = at < 0 ? half.tokens.length : at;
  if (at >= 0) parted++;
  const squares = half.gaps.slice(0, equal).map((gap, step) => (gap - full.gaps[step]) ** 2);
  const rms = Math.sqrt(squares.reduce((sum, square) => sum + square, 0) / Math.max(1, equal));
  const gap = at < 0 ? null : Number(half.gaps[at].toFixed(3));
  console.log(
    JSON.stringify({
      bench: 'llama_cpp_itself',
      name,
      first_difference: at,
      gap_there: gap,
      gap_rms: Number(rms.toFixed(3)),
    }),
  );
}
console.log(JSON.stringify({ bench: 'llama_cpp_itself', prompts: cases.length, parted }));
process.exit(0);

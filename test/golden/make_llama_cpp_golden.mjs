// Makes smollm2-greedy.json and gemma3-greedy.json: what llama.cpp answers greedily to the prompts in prompts/, 48 tokens each.
//
// Run: node make_llama_cpp_golden.mjs MODEL.gguf OUT.json [FOLDER]
// FOLDER (or LONGSHORE_PEER_FOLDER; default: longshore-peers in the temporary folder) receives node-llama-cpp, pinned below; its optional packages
// are 700 MB, so it never becomes a dependency of the repository. Takes about two minutes on two cores.
//
// Per prompt: the token ids that llama.cpp's tokenizer gives, the greedy continuation, and per step the gap between the two
// largest logits (from the reported probabilities: ln p1 - ln p2). CPU, no flash attention, f16 KV, batches of 512.
//
// A model this small often wavers: prompts 01 to 10 go on freely and contain steps whose gap is under 0.1, less than what quantizing
// activations to 8 bits moves a logit (0.15 root mean square between two implementations). Prompts from 11 on continue a
// pattern or repeat a passage of their own, up to 950 tokens back, so that the answer is decided. Prompts from 31 on were written
// after the comparer's rule was fixed, to test it: documents with questions, records, code, lists, short questions. The comparer
// judges by the gaps here, not by the numbers: see native/test/golden_greedy_test.cc.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensurePeer, importPeer, peerFolder } from '../peers/peer_package.mjs';

const PACKAGE = 'node-llama-cpp';
const VERSION = '3.22.1';
const STEPS = 48;

const here = fileURLToPath(new URL('.', import.meta.url));
const [modelArgument, outArgument, folderArgument] = process.argv.slice(2);
if (!modelArgument || !outArgument) {
  console.error('usage: node make_llama_cpp_golden.mjs MODEL.gguf OUT.json [FOLDER for node-llama-cpp]');
  process.exit(2);
}
const modelPath = resolve(modelArgument);

const folder = peerFolder(folderArgument);
ensurePeer(folder, PACKAGE, VERSION);
const { getLlama } = await importPeer(folder, PACKAGE);
const llama = await getLlama({ gpu: false, build: 'never', maxThreads: 2, logLevel: 'error' });
const model = await llama.loadModel({ modelPath, useMmap: true });

const cases = [];
const names = readdirSync(join(here, 'prompts'))
  .filter((name) => name.endsWith('.txt'))
  .sort();
for (const name of names) {
  const text = readFileSync(join(here, 'prompts', name), 'utf8');
  const prompt = model.tokenize(text, true);
  const context = await model.createContext({
    contextSize: prompt.length + STEPS + 16,
    batchSize: 512,
    threads: 2,
    flashAttention: false,
  });
  const sequence = context.getSequence();
  const tokens = [];
  const gaps = [];
  const output = sequence.evaluateWithMetadata(
    prompt,
    { probabilities: true },
    { temperature: 0, yieldEogToken: true },
  );
  for await (const { token, probabilities } of output) {
    const [[first, p1], [, p2]] = probabilities.entries();
    if (first !== token) throw new Error(`${name}: the drawn token ${token} is not the most probable one ${first}`);
    tokens.push(token);
    gaps.push(Number((Math.log(p1) - Math.log(p2)).toFixed(4)));
    if (tokens.length === STEPS) break;
  }
  cases.push({ name: name.replace(/\.txt$/, ''), prompt: [...prompt], tokens, gaps });
  console.error(
    `${name}: ${prompt.length} tokens, smallest gap ${Math.min(...gaps)}: ${JSON.stringify(model.detokenize(tokens))}`,
  );
  await context.dispose();
}

const sha256 = createHash('sha256').update(readFileSync(modelPath)).digest('hex');
const head = { model: basename(modelPath), model_sha256: sha256, peer: `${PACKAGE} ${VERSION}`, steps: STEPS };
// One case per line keeps the diff of a regenerated file readable.
const body = cases.map((c) => `    ${JSON.stringify(c)}`).join(',\n');
const json = `{\n${Object.entries(head)
  .map(([k, v]) => `  ${JSON.stringify(k)}: ${JSON.stringify(v)},\n`)
  .join('')}  "cases": [\n${body}\n  ]\n}\n`;
writeFileSync(resolve(outArgument), json);
process.exit(0);

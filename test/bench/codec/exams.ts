import { type Prompt, type Tokenized, windows } from './prefixes.ts';
import type { Exam } from './recall.ts';

/** Deterministic 32-bit noise. */
function noise(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

async function question({ text }: Tokenized, words: string, answer: string) {
  const tokens = await text.tokenizer.encode(words, 'middle');
  const both = await text.tokenizer.encode(words + answer, 'middle');
  return { tokens: Uint32Array.from(tokens), answer: Uint32Array.from(both.slice(tokens.length)) };
}

/** A number hidden in a text, at another depth in each of `count` texts. */
export async function passKeys(model: Tokenized, tokens: number[], count: number, length: number): Promise<Exam[]> {
  const random = noise(7);
  const hide = async ({ prefix }: Prompt, index: number): Promise<Exam> => {
    const key = String(10_000 + (random() % 90_000));
    const words = `\nThe pass key is ${key}. Remember it. ${key} is the pass key.\n`;
    const sentence = await model.text.tokenizer.encode(words, 'middle');
    const at = Math.floor(((index + 0.5) / count) * (length - sentence.length));
    const all = [...prefix.slice(0, at), ...sentence, ...prefix.slice(at)].slice(0, length);
    return {
      prefix: Uint32Array.from(all),
      questions: [await question(model, '\nWhat is the pass key? The pass key is', ` ${key}`)],
    };
  };
  const exams: Exam[] = [];
  for (const [index, prompt] of windows(tokens, model.metadata.bosId, count, length).entries())
    exams.push(await hide(prompt, index));
  return exams;
}

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';

/** The needle fixture's own language: `K7Qa=93fd;` pairs throughout, then `?K7Qa=` for `count` of them, evenly over the prefix. */
export async function keyValuePairs(model: Tokenized, count: number, length: number): Promise<Exam[]> {
  const random = noise(11);
  const word = () => Array.from({ length: 4 }, () => LETTERS[random() % LETTERS.length]).join('');
  const pairs = [...new Map(Array.from({ length: Math.floor(length / 10) }, () => [word(), word()]))];
  const line = pairs.map(([key, value]) => `${key}=${value};`).join('');
  const tokens = Uint32Array.from(await model.text.tokenizer.encode(line, 'text'));
  // Pairs that are cut off are asked for by no one.
  const whole = tokens.length - (tokens.length % 128);
  const kept = Math.floor((whole - 1) / 10);
  const asked = Array.from({ length: count }, (_, index) => pairs[Math.floor(((index + 0.5) * kept) / count)]!);
  const questions = [];
  for (const [key, value] of asked) questions.push(await question(model, `?${key}=`, value));
  return [{ prefix: tokens.subarray(0, whole), questions }];
}

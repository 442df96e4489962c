import { compose } from '../compose.ts';
import type { Random } from '../random.ts';
import type { Context, Question, Task, Wanted } from '../task.ts';
import { ADJECTIVES, NOUNS, proseSentence } from './prose-words.ts';

/**
 * RULER's and InfiniteBench's kinds of questions in plain English, for models that continue text. Questions with several answers are
 * scored per answer, as RULER does.
 */

const DIGITS = '0123456789';
const number = (random: Random): string => random.text(1, '123456789') + random.text(4, DIGITS);
const name = (random: Random): string => `${random.pick(ADJECTIVES)}-${random.pick(NOUNS)}`;

async function spread(wanted: Wanted, opening: string, facts: readonly string[]) {
  const { dialect, random, length } = wanted;
  const begin = [...dialect.begin, ...(await dialect.encode(opening))];
  const needles = await Promise.all(facts.map((fact) => dialect.encode(fact)));
  const filler = () => dialect.encode(proseSentence((from) => random.pick(from)));
  return compose(random, length, begin, needles, filler);
}

const MAGIC =
  'Some special magic numbers are hidden within the following text. Make sure to memorize them. I will ask about them afterwards.\n';
const fact = (key: string, value: string): string => ` The special magic number for ${key} is: ${value}.`;

interface Needle {
  keys: string[];
  values: string[];
}

/** The answer begins as the facts do, so that models that only continue text know what is wanted. */
async function askMagic(wanted: Wanted, { keys, values }: Needle, depth: number): Promise<Question> {
  const many = values.length > 1;
  const all = keys.length > 1 ? `${keys.slice(0, -1).join(', ')} and ${keys.at(-1)}` : keys[0]!;
  const subject = many ? 'special magic numbers' : 'special magic number';
  const be = many ? 'are' : 'is';
  const text = `\n\nQuestion: What ${be} the ${subject} for ${all} mentioned in the text above?\nAnswer: The ${subject} for ${all} ${be}:`;
  const prompt = await wanted.dialect.encode(text);
  return { prompt, answers: values, ...(many ? { countEach: true } : {}), depth, maxTokens: 8 + 10 * values.length };
}

/** Facts take at most a quarter of the context; one takes about 24 tokens. */
const factsIn = (wanted: Wanted, perQuestion: number): number =>
  Math.max(1, Math.min(wanted.questions, Math.floor(wanted.length / 96 / perQuestion)));

/**
 * `perKey` numbers for each key, `asked` keys a question. `distractors`: further keys that share a word with each asked one.
 */
function magic(task: string, options: { perKey: number; asked: number; distractors: number }): Task {
  const { perKey, asked, distractors } = options;
  return {
    name: task,
    dialects: ['prose'],
    async context(wanted) {
      const { random } = wanted;
      const groups = factsIn(wanted, perKey * asked * (1 + distractors));
      const keys = random.distinct(groups * asked * (1 + distractors), () => name(random));
      const stated = keys.map((key) => ({ key, values: Array.from({ length: perKey }, () => number(random)) }));
      const facts = random.shuffle(stated.flatMap(({ key, values }) => values.map((value) => ({ key, value }))));
      const { tokens, starts } = await spread(
        wanted,
        MAGIC,
        facts.map(({ key, value }) => fact(key, value)),
      );
      const depthOf = new Map<string, number>();
      for (const [index, { key }] of facts.entries()) {
        if (!depthOf.has(key)) depthOf.set(key, starts[index]! / wanted.length);
      }
      const dialogues: Question[][] = [];
      for (let group = 0; group < groups; group++) {
        const of = stated.slice(group * asked, (group + 1) * asked);
        const needle = { keys: of.map(({ key }) => key), values: of.flatMap(({ values }) => values) };
        dialogues.push([await askMagic(wanted, needle, depthOf.get(of[0]!.key)!)]);
      }
      return { tokens, dialogues, probes: [] };
    },
  };
}

const TURNS = 5;
const single = magic('needle_single', { perKey: 1, asked: 1, distractors: 0 });

function shared(task: string, oneSequence: boolean): Task {
  return {
    name: task,
    dialects: ['prose'],
    async context(wanted) {
      const context = await single.context(wanted);
      const all = wanted.random.shuffle(context.dialogues.map((dialogue) => dialogue[0]!));
      const dialogues: Question[][] = [];
      for (let at = 0; at + TURNS <= all.length; at += TURNS) dialogues.push(all.slice(at, at + TURNS));
      return {
        ...context,
        dialogues: oneSequence
          ? dialogues
          : dialogues.flatMap((turns) => turns.map((one, at) => [{ ...one, turn: at + 1 }])),
      };
    },
  };
}

const tracking: Task = {
  name: 'variable_tracking',
  dialects: ['prose'],
  async context(wanted) {
    const { dialect, random, length } = wanted;
    const groups = factsIn(wanted, 2);
    const names = random.distinct(groups * 3, () => random.text(3, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'));
    const values = random.distinct(groups, () => number(random));
    const chains = values.map((value, group) => ({ value, variables: names.slice(group * 3, group * 3 + 3) }));
    // The links of each chain keep their order, whatever stands between them.
    const order = random.shuffle(chains.flatMap((_, group) => [group, group, group]));
    const next = chains.map(() => 0);
    const facts = order.map((group) => {
      const { value, variables } = chains[group]!;
      const at = next[group]!++;
      return ` VAR ${variables[at]} = ${at === 0 ? value : `VAR ${variables[at - 1]}`}.`;
    });
    const opening = 'Memorize and track the chains of variable assignment hidden in the following text.\n';
    const { tokens, starts } = await spread(wanted, opening, facts);
    const dialogues: Question[][] = [];
    for (const [group, { value, variables }] of chains.entries()) {
      const text = `\n\nQuestion: Find all variables that are assigned the value ${value} in the text above.\nAnswer: According to the chain of variable assignment, 3 variables are assigned the value ${value}, they are:`;
      const depth = starts[order.indexOf(group)]! / length;
      dialogues.push([
        { prompt: await dialect.encode(text), answers: variables, countEach: true, depth, maxTokens: 32 },
      ]);
    }
    return { tokens, dialogues, probes: [] };
  },
};

const COMMON = 10;

/** RULER's list: ten words stand in it 30 times, others 3 times. Each of the ten counts as a question. */
const commonWords: Task = {
  name: 'common_words',
  dialects: ['prose'],
  questionsPerContext: COMMON,
  async context(wanted): Promise<Context> {
    const { dialect, random, length } = wanted;
    const opening =
      'Below is a numbered list of words. In these words, some appear more often than others. Memorize the ones that appear most often.\n';
    const begin = [...dialect.begin, ...(await dialect.encode(opening))];
    const words = random.shuffle([...ADJECTIVES, ...NOUNS]);
    const common = words.slice(0, COMMON);
    const rest = words.slice(COMMON);
    // About 4 tokens an entry: as many rare words, three times each, as leave room for the common ones.
    const entries = Math.floor((length - begin.length) / 6);
    const rare = Array.from(
      { length: Math.max(3, entries - 30 * COMMON) },
      (_, at) => rest[Math.floor(at / 3) % rest.length]!,
    );
    const often = Math.min(30, Math.max(4, Math.floor(entries / 2 / COMMON)));
    const list = random.shuffle([...common.flatMap((word) => Array.from({ length: often }, () => word)), ...rare]);
    const tokens = [...begin];
    for (const [at, word] of list.entries()) {
      const entry = await dialect.encode(` ${at + 1}. ${word}`);
      if (tokens.length + entry.length > length) break;
      tokens.push(...entry);
    }
    while (tokens.length < length) tokens.push(...(await dialect.encode('\n')));
    const text =
      '\n\nQuestion: What are the 10 most common words in the above list?\nAnswer: The top 10 words that appear most often in the list are:';
    const question = {
      prompt: await dialect.encode(text),
      answers: common,
      countEach: true,
      depth: 0.5,
      maxTokens: 60,
    };
    return { tokens: tokens.slice(0, length), dialogues: [[question]], probes: [] };
  },
};

/** InfiniteBench's key-value retrieval: a JSON object that fills the context. */
const keyValue: Task = {
  name: 'kv_retrieval',
  dialects: ['prose'],
  async context(wanted) {
    const { dialect, random, length } = wanted;
    const begin = [...dialect.begin, ...(await dialect.encode('JSON data:\n{'))];
    const tokens = [...begin];
    const stated: Array<{ key: string; value: string; depth: number }> = [];
    const keys = new Set<string>();
    for (;;) {
      // Small models do not tell random hexadecimal keys apart; words they do.
      const key = wanted.length > 16384 ? `${name(random)}-${random.pick(NOUNS)}` : name(random);
      if (keys.has(key)) continue;
      const value = number(random);
      const entry = await dialect.encode(`"${key}": "${value}",\n`);
      if (tokens.length + entry.length > length - 4) break;
      keys.add(key);
      stated.push({ key, value, depth: tokens.length / length });
      tokens.push(...entry);
    }
    while (tokens.length < length) tokens.push(...(await dialect.encode('\n')));
    const dialogues: Question[][] = [];
    for (let index = 0; index < Math.min(wanted.questions, stated.length); index++) {
      const { key, value, depth } =
        stated[Math.floor(((index + random.next()) * stated.length) / wanted.questions) % stated.length]!;
      const text = `\n}\n\nExtract the value that belongs to the key "${key}" in the JSON object above.\n"${key}": "`;
      dialogues.push([{ prompt: await dialect.encode(text), answers: [value], depth, maxTokens: 10 }]);
    }
    return { tokens: tokens.slice(0, length), dialogues, probes: [] };
  },
};

export const PROSE_TASKS: readonly Task[] = [
  single,
  magic('needle_multi_key', { perKey: 1, asked: 1, distractors: 3 }),
  magic('needle_multi_value', { perKey: 3, asked: 1, distractors: 0 }),
  magic('needle_multi_query', { perKey: 1, asked: 3, distractors: 0 }),
  tracking,
  commonWords,
  keyValue,
  shared('shared_multi_turn', true),
  shared('shared_multi_request', false),
];

import { compose } from '../compose.ts';
import type { Random } from '../random.ts';
import type { Context, Question, Task, Wanted } from '../task.ts';

/**
 * The needle model's own format: "K7Qa=93fd;" states a pair, "?K7Qa=" asks for its value, everything else is filler in a
 * pseudo-language. One byte is one token.
 */
const ALPHANUMERIC = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const PAIR_TOKENS = 10;
const ANSWER_TOKENS = 6;
/** Of a question with its answer: "?K7Qa=93fd;". Those take at most a quarter of a context. */
const QUERY_TOKENS = 11;

interface Pair {
  key: string;
  value: string;
}

function pairs(random: Random, count: number, keyAlphabet = ALPHANUMERIC): Pair[] {
  const keys = random.distinct(count, () => random.text(4, keyAlphabet));
  return keys.map((key) => ({ key, value: random.text(4, ALPHANUMERIC) }));
}

function pseudoSentence(random: Random): string {
  const word = () =>
    Array.from(
      { length: 1 + random.below(3) },
      () => random.pick([...'bdfgklmnprstvz']) + random.pick([...'aeiou']),
    ).join('');
  return `${Array.from({ length: 3 + random.below(8) }, word).join(' ')}. `;
}

async function statedPairs(wanted: Wanted, stated: readonly Pair[]) {
  const { dialect, random, length } = wanted;
  const needles = await Promise.all(stated.map(({ key, value }) => dialect.encode(`${key}=${value};`)));
  return compose(random, length, dialect.begin, needles, () => dialect.encode(pseudoSentence(random)));
}

const ask = async ({ dialect }: Wanted, { key, value }: Pair, depth: number): Promise<Question> => ({
  prompt: await dialect.encode(`?${key}=`),
  answers: [value],
  depth,
  maxTokens: ANSWER_TOKENS,
});

/** A context that states `stated`, and a question for `asked` of them, spread evenly. */
async function retrieval(wanted: Wanted, stated: readonly Pair[], asked: number): Promise<Context> {
  const { tokens, starts } = await statedPairs(wanted, stated);
  const dialogues: Question[][] = [];
  for (let index = 0; index < asked; index++) {
    const which = Math.floor(((index + wanted.random.next()) * stated.length) / asked);
    dialogues.push([await ask(wanted, stated[which]!, starts[which]! / wanted.length)]);
  }
  return { tokens, dialogues, probes: [] };
}

const fitting = (wanted: Wanted): number => Math.floor((wanted.length - wanted.dialect.begin.length) / PAIR_TOKENS);
/** Needles take at most a tenth of the context. */
const needlesIn = (wanted: Wanted): number => Math.max(1, Math.min(wanted.questions, Math.floor(fitting(wanted) / 10)));

const single: Task = {
  name: 'needle_single',
  dialects: ['pairs'],
  context: (wanted) => retrieval(wanted, pairs(wanted.random, needlesIn(wanted)), wanted.questions),
};

/** Keys of few characters: many differ from the asked one in a single character. */
const multiKey: Task = {
  name: 'needle_multi_key',
  dialects: ['pairs'],
  context: (wanted) => {
    const count = Math.min(4 * needlesIn(wanted), Math.floor(fitting(wanted) / 2));
    const alphabet = wanted.random
      .shuffle([...ALPHANUMERIC])
      .join('')
      .slice(0, Math.max(7, Math.ceil((8 * count) ** 0.25)));
    return retrieval(wanted, pairs(wanted.random, count, alphabet), wanted.questions);
  },
};

/** Every token belongs to a pair. */
const keyValue: Task = {
  name: 'kv_retrieval',
  dialects: ['pairs'],
  context: (wanted) => retrieval(wanted, pairs(wanted.random, fitting(wanted)), wanted.questions),
};

const TURNS = 5;

/** Five questions about one context: one after another in one sequence, or each from the bare context. */
function shared(name: string, oneSequence: boolean): Task {
  return {
    name,
    dialects: ['pairs'],
    async context(wanted) {
      const groups = Math.ceil(wanted.questions / TURNS);
      const context = await retrieval(wanted, pairs(wanted.random, fitting(wanted)), groups * TURNS);
      const all = wanted.random.shuffle(context.dialogues.map((dialogue) => dialogue[0]!));
      const dialogues = Array.from({ length: groups }, (_, group) => all.slice(group * TURNS, (group + 1) * TURNS));
      return {
        ...context,
        dialogues: oneSequence
          ? dialogues
          : dialogues.flatMap((turns) => turns.map((one, at) => [{ ...one, turn: at + 1 }])),
      };
    },
  };
}

const multiQuery: Task = {
  name: 'needle_multi_query',
  dialects: ['pairs'],
  async context(wanted) {
    const stated = pairs(wanted.random, needlesIn(wanted));
    const { tokens, starts } = await statedPairs(wanted, stated);
    // One continuation cannot hold a second question in this format: three turns of a sequence stand for it.
    const dialogues: Question[][] = [];
    for (let index = 0; index < Math.ceil(wanted.questions / 3); index++) {
      const which = Array.from({ length: 3 }, () => wanted.random.below(stated.length));
      dialogues.push(await Promise.all(which.map((at) => ask(wanted, stated[at]!, starts[at]! / wanted.length))));
    }
    return { tokens, dialogues, probes: [] };
  },
};

/** All pairs, with questions and their answers written inside the prompt: an estimate from its last queries never sees them. */
function probed(name: string, from: number): Task {
  return {
    name,
    dialects: ['pairs'],
    async context(wanted) {
      const { dialect, random, length } = wanted;
      const questions = Math.min(wanted.questions, Math.floor(length / 4 / QUERY_TOKENS));
      const room = Math.floor((length - dialect.begin.length - questions * QUERY_TOKENS) / PAIR_TOKENS);
      const stated = pairs(random, room);
      const parts = await Promise.all(stated.map(({ key, value }) => dialect.encode(`${key}=${value};`)));
      const tokens = [...dialect.begin];
      const starts: number[] = [];
      const probes: Context['probes'] = [];
      // Questions stand between the pairs from `from` on, a middle band or the whole rest, and ask for what came before.
      const first = Math.max(1, Math.floor(from * room));
      const last = name === 'kv_middle' ? Math.min(room, first + Math.ceil(room / 10)) : room;
      let asked = 0;
      for (const [index, part] of parts.entries()) {
        starts.push(tokens.length);
        tokens.push(...part);
        const due = index < first ? 0 : Math.ceil(questions * Math.min(1, (index + 1 - first) / (last - first)));
        for (; asked < due; asked++) {
          const which = random.below(index + 1);
          const { key, value } = stated[which]!;
          tokens.push(...(await dialect.encode(`?${key}=`)));
          const answer = await dialect.encode(value);
          probes.push({ position: tokens.length - 1, answer, depth: starts[which]! / length });
          tokens.push(...answer, ...(await dialect.encode(';')));
        }
      }
      while (tokens.length < length) tokens.push(...(await dialect.encode(pseudoSentence(random))));
      return { tokens: tokens.slice(0, length), dialogues: [], probes };
    },
  };
}

export const PAIR_TASKS: readonly Task[] = [
  single,
  multiKey,
  multiQuery,
  keyValue,
  probed('kv_middle', 0.45),
  probed('kv_spread', 0.1),
  shared('shared_multi_turn', true),
  shared('shared_multi_request', false),
];

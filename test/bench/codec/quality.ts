import type { Engine } from '@longshore/native';
import { bitEqual, compareLogits, mean } from './compare.ts';
import { carry, Pool, prefill, type Treatment } from './pool.ts';
import type { Prompt } from './prefixes.ts';

/** How much an answer changes when its prefix has been through a codec, against the same engine whose prefix never was. */
export interface QualityLine {
  prompts: number;
  prefix_tokens: number;
  answer_tokens: number;
  logits_bit_equal: boolean;
  /** Mean over all positions, nats. */
  kl: number;
  /** Of the answer's positions, those where the same context gives the same greedy choice; mean over prompts. */
  greedy_match_64: number;
  greedy_match: number;
  /** Each run going its own way: positions with the same token, and tokens before the first other one; means over prompts. */
  free_match_64?: number;
  free_match?: number;
  free_until_first_difference?: number;
}

export class Quality {
  readonly pool: Pool;
  private readonly engine: Engine;
  private readonly prompts: readonly Prompt[];
  private readonly answerTokens: number;
  private reference: number[][] = [];

  static pool(prompts: readonly Prompt[], answerTokens: number): Pool {
    return new Pool(prompts.length, prompts[0]!.prefix.length + answerTokens);
  }

  constructor(engine: Engine, prompts: readonly Prompt[], answerTokens: number) {
    this.engine = engine;
    this.prompts = prompts;
    this.answerTokens = answerTokens;
    this.pool = Quality.pool(prompts, answerTokens);
  }

  /** Computes the prefixes and the answers that all treatments are compared with. */
  async prepare(): Promise<void> {
    for (const [index, { prefix }] of this.prompts.entries())
      await prefill(this.engine, prefix, this.pool.table(index, 0));
    this.reference = await this.answers(0);
  }

  /** `alsoFree`: decodes the answers again as well, each from its own tokens. */
  async measure(treatment: Treatment, alsoFree: boolean): Promise<QualityLine> {
    const blocks = this.prompts[0]!.prefix.length / 128;
    const tables = this.prompts.map((_, index) => [this.pool.table(index, 0), this.pool.table(index, 1)] as const);
    for (const [from, to] of tables) await carry(this.engine, from, to, blocks, treatment);

    const rows = [];
    let equal = true;
    for (const index of this.prompts.keys()) {
      const [expected, found] = [await this.logits(index, 0), await this.logits(index, 1)];
      equal &&= bitEqual(expected, found);
      rows.push(compareLogits(expected, found, this.engine.info.vocab));
    }
    const count = (found: boolean[], upTo = found.length) => found.slice(0, upTo).filter(Boolean).length;
    return {
      prompts: this.prompts.length,
      prefix_tokens: this.prompts[0]!.prefix.length,
      answer_tokens: this.answerTokens,
      logits_bit_equal: equal,
      kl: mean(rows.flat().map((row) => row.kl)),
      greedy_match_64: mean(
        rows.map((row) =>
          count(
            row.map(({ sameChoice }) => sameChoice),
            64,
          ),
        ),
      ),
      greedy_match: mean(rows.map((row) => count(row.map(({ sameChoice }) => sameChoice)))),
      ...(alsoFree ? await this.free(equal) : {}),
    };
  }

  /** Where the logits are equal at every position of the reference answer, the free run is that answer. */
  private async free(equal: boolean) {
    const answers = equal ? this.reference : await this.answers(1);
    const same = answers.map((tokens, prompt) => tokens.map((token, at) => token === this.reference[prompt]![at]));
    const until = (found: boolean[]) => (found.includes(false) ? found.indexOf(false) : found.length);
    const matches = (upTo: number) => mean(same.map((found) => found.slice(0, upTo).filter(Boolean).length));
    return {
      free_match_64: matches(64),
      free_match: matches(this.answerTokens),
      free_until_first_difference: mean(same.map(until)),
    };
  }

  /** Greedy answers of all prompts, decoded together. */
  private async answers(lane: 0 | 1): Promise<number[][]> {
    const answers: number[][] = this.prompts.map(() => []);
    let last = this.prompts.map(({ next }) => next);
    for (let at = 0; at < this.answerTokens; at++) {
      const items = this.prompts.map(({ prefix }, index) => ({
        tokens: Uint32Array.of(last[index]!),
        position: prefix.length + at,
        blockTable: this.pool.table(index, lane),
        sample: true,
        sampling: { temperature: 0 },
      }));
      last = (await this.engine.step(items)).map(({ token }) => token!);
      last.forEach((token, index) => {
        answers[index]!.push(token);
      });
    }
    return answers;
  }

  /** Logits at every position of the reference answer. */
  private async logits(index: number, lane: 0 | 1): Promise<Float32Array> {
    const { prefix, next } = this.prompts[index]!;
    const tokens = Uint32Array.from([next, ...this.reference[index]!.slice(0, -1)]);
    const blockTable = this.pool.table(index, lane);
    const [output] = await this.engine.step([{ tokens, position: prefix.length, blockTable, wantLogits: true }]);
    return output!.logits!;
  }
}

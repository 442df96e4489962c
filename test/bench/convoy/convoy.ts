import type { KvStoreStats } from '../../../workers-gpu/src/kv/stats.ts';
import type { TestPlatform } from '../../harness/platform.ts';
import { difference, readCounters, untilQuiet } from './counters.ts';
import { DOCUMENT_CHARACTERS, freshDocument, question } from './prompts.ts';
import { type TakeoverResult, takeover } from './takeover.ts';
import { ask, type Seen } from './worker-client.ts';

export type Phase = 'cold' | 'restore';
/** `question`: the prompts share a long prefix and end in a question each; `identical`: they are equal to the last token. */
export type Case = 'question' | 'identical';

export interface ConvoyOptions {
  clients: number;
  /** Tokens of the shared prefix, about; whole blocks of it are counted. */
  tokens: number;
  /** Of each answer. */
  maxTokens: number;
  /** Repetitions, over which medians are taken. */
  runs: number;
}

export interface ConvoyResult {
  bench: 'convoy';
  phase: Phase;
  case: Case;
  clients: number;
  workers: number;
  shared_blocks: number;
  prompt_tokens: number;
  /** Complete blocks computed by all workers / shared blocks, the worst run: 1 is single-flight (0 where all was stored). */
  prefills_per_block: number;
  /** Blocks read from the store / shared blocks, the worst run; at most one for each worker is single-flight. */
  restores_per_block: number;
  prefill_tokens: number;
  single_ttft_ms: number;
  p50_ttft_ms: number;
  p99_ttft_ms: number;
  /** p99 of the convoy / a single request, medians of the runs. */
  p99_ratio: number;
  p99_ratios: number[];
  /** Fewest progress events that a client of the convoy saw before its first token. */
  min_progress_events: number;
}

const BLOCK_TOKENS = 128;

/** Runs convoys on a platform whose workers it may kill and start again. */
export class ConvoyBench {
  private readonly platform: TestPlatform;
  private readonly options: ConvoyOptions;
  private serial = 0;
  private characters: number | undefined;

  constructor(platform: TestPlatform, options: ConvoyOptions) {
    this.platform = platform;
    this.options = options;
  }

  /** Both workers run again afterwards. */
  async takeover(afterBlocks: number): Promise<TakeoverResult> {
    const { platform, options } = this;
    this.characters ??= await this.fitDocument();
    const result = await takeover(platform, this.characters, afterBlocks, options.maxTokens);
    const { id } = platform.workers[0]!;
    await platform.startWorker(id);
    await this.untilServing(id, 0);
    return result;
  }

  async run(phase: Phase, which: Case): Promise<ConvoyResult> {
    const { platform, options } = this;
    this.characters ??= await this.fitDocument();
    const singles: number[] = [];
    const convoys: Convoy[] = [];
    for (let run = 0; run < options.runs; run++) {
      singles.push((await this.single(phase)).ttftMs);
      convoys.push(await this.convoy(phase, which));
    }
    const single = median(singles);
    const p99s = convoys.map(({ seen }) =>
      percentile(
        seen.map(({ ttftMs }) => ttftMs),
        0.99,
      ),
    );
    return {
      bench: 'convoy',
      phase,
      case: which,
      clients: options.clients,
      workers: platform.workers.length,
      shared_blocks: convoys[0]!.sharedBlocks,
      prompt_tokens: convoys[0]!.seen[0]!.promptTokens,
      prefills_per_block: Math.max(...convoys.map((one) => one.computedBlocks / one.sharedBlocks)),
      restores_per_block: Math.max(...convoys.map((one) => one.restoredBlocks / one.sharedBlocks)),
      prefill_tokens: median(convoys.map((one) => one.prefillTokens)),
      single_ttft_ms: round(single),
      p50_ttft_ms: round(
        median(
          convoys.map(({ seen }) =>
            percentile(
              seen.map(({ ttftMs }) => ttftMs),
              0.5,
            ),
          ),
        ),
      ),
      p99_ttft_ms: round(median(p99s)),
      p99_ratio: round(median(p99s) / single),
      p99_ratios: p99s.map((p99, run) => round(p99 / singles[run]!)),
      min_progress_events: Math.min(...convoys.flatMap(({ seen }) => seen.map((one) => one.progressEvents))),
    };
  }

  /**
   * Characters of the document with which every prompt of the convoy has the same number of whole blocks, so that each block
   * computed is either shared or a fault: the question must not complete one.
   */
  private async fitDocument(): Promise<number> {
    let characters = Math.min(DOCUMENT_CHARACTERS, Math.round(this.options.tokens * 4.4));
    for (let attempt = 0; attempt < 12; attempt++) {
      const first = await this.ask(0, freshDocument(++this.serial, characters), question(0), 1);
      const over = first.promptTokens - (this.options.tokens + 64);
      if (Math.abs(over) <= 24) return characters;
      characters = Math.min(DOCUMENT_CHARACTERS, Math.round(characters * (1 - over / first.promptTokens)));
    }
    throw new Error(`no part of the document has about ${this.options.tokens} tokens`);
  }

  private ask(worker: number, document: string, asked: string, maxTokens = this.options.maxTokens): Promise<Seen> {
    const { workers } = this.platform;
    return ask(this.platform, workers[worker % workers.length]!.id, document, asked, maxTokens);
  }

  private async single(phase: Phase): Promise<Seen> {
    const document = freshDocument(++this.serial, this.characters!);
    if (phase === 'restore') await this.storeAndForget(document);
    await untilQuiet(this.platform);
    return this.ask(1, document, question(1));
  }

  private async convoy(phase: Phase, which: Case): Promise<Convoy> {
    const { platform, options } = this;
    const document = freshDocument(++this.serial, this.characters!);
    if (phase === 'restore') await this.storeAndForget(document);
    await untilQuiet(platform);
    const before = await readCounters(platform);
    const seen = await Promise.all(
      Array.from({ length: options.clients }, (_, client) =>
        this.ask(client, document, question(which === 'identical' ? 0 : client)),
      ),
    );
    await untilQuiet(platform);
    const counted = difference(await readCounters(platform), before);
    const sharedBlocks = Math.floor(seen[0]!.promptTokens / BLOCK_TOKENS);
    const fits = seen.every(
      (one) => Math.floor((one.promptTokens + options.maxTokens) / BLOCK_TOKENS) === sharedBlocks,
    );
    if (!fits) throw new Error('a question completed a block of its own: the counts would not say what they should');
    return { seen, sharedBlocks, ...counted };
  }

  /** Prefills a document once, waits until it is stored, and replaces every worker by a fresh process that has served one request. */
  private async storeAndForget(document: string): Promise<void> {
    const { platform } = this;
    const { id: first } = platform.workers[0]!;
    const before = (await this.kvStats(first)).publishedBlocks;
    const { promptTokens } = await this.ask(0, document, question(0), 1);
    await untilQuiet(platform);
    await this.expectStored(first, before + Math.floor(promptTokens / BLOCK_TOKENS));
    await Promise.all(
      platform.workers.map(async ({ id }) => {
        await platform.killWorker(id);
        await platform.startWorker(id);
      }),
    );
    await Promise.all(platform.workers.map(({ id }, index) => this.untilServing(id, index)));
  }

  /** Throws with the store's own counts: what is not stored now would be measured as a restore that is none. */
  private async expectStored(workerId: string, total: number): Promise<void> {
    const { publishedBlocks, droppedBlocks, storeBreakerOpen, faults } = await this.kvStats(workerId);
    if (publishedBlocks >= total) return;
    const told = JSON.stringify({ publishedBlocks, total, droppedBlocks, storeBreakerOpen, faults });
    throw new Error(`${workerId} did not store the whole prompt that the convoy restores: ${told}`);
  }

  private async kvStats(workerId: string): Promise<KvStoreStats> {
    return ((await this.platform.workerStats(workerId)) as { kv: KvStoreStats }).kv;
  }

  private async untilServing(workerId: string, index: number): Promise<void> {
    const end = performance.now() + 60_000;
    for (;;) {
      try {
        await this.platform.workerStats(workerId);
        break;
      } catch (error) {
        if (performance.now() > end) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    await this.ask(index, `Warm-up ${++this.serial}.`, question(0), 1);
  }
}

interface Convoy {
  seen: Seen[];
  sharedBlocks: number;
  computedBlocks: number;
  restoredBlocks: number;
  prefillTokens: number;
}

function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)]!;
}

const median = (values: readonly number[]): number => percentile(values, 0.5);
const round = (value: number): number => Math.round(value * 100) / 100;

import { BLOCK_TOKENS, type Codec } from '@longshore/core';
import { blockRanges, rawBlockBytes } from './domain/section-layout.ts';
import type { ObjectSlice } from './domain/slices.ts';
import { faultOf, Mismatch } from './fault.ts';
import type { GetTailRequest, KvEngine, Published, PublishRequest, StoredTail, TailRequest } from './kv-store.ts';
import { done, type Outcome } from './outcome.ts';
import { Publisher, type PublisherOptions } from './publisher.ts';
import { Restorer, type RestorerOptions } from './restorer.ts';

/** Encoded, unsealed sections, one a layer. */
export type Sections = Uint8Array[];

export type PlainBlocksOptions = RestorerOptions & PublisherOptions;

/**
 * Stored KV as bytes instead of in an engine: what an export reads and an import writes. Every check, quarantine, quota and step of the
 * publish order is the restorer's and the publisher's own; only their engine is another one.
 */
export class PlainBlocks {
  private readonly options: PlainBlocksOptions;

  constructor(options: PlainBlocksOptions) {
    this.options = options;
  }

  /** The sections of a slice's wanted blocks. */
  read(tenant: PublishRequest['tenant'], slice: ObjectSlice, signal?: AbortSignal): Promise<Outcome<Sections>> {
    const physicalBlocks = Uint32Array.from(slice.hashes, (_, index) => index);
    return this.captured((restorer) => restorer.restore({ tenant, slice, physicalBlocks, signal }));
  }

  readTail(request: Omit<GetTailRequest, 'physicalBlock' | 'claim'>): Promise<Outcome<Sections>> {
    return this.captured((restorer) => restorer.getTail({ ...request, physicalBlock: 0 }));
  }

  private async captured(read: (restorer: Restorer) => Promise<Outcome<unknown>>): Promise<Outcome<Sections>> {
    let sections: Sections = [];
    const engine: KvEngine = {
      exportBlocks: () => Promise.reject(new Error('this engine only takes')),
      importBlocks: async (_blocks, _codec, layers) => {
        sections = [...layers];
      },
    };
    const outcome = await read(new Restorer({ ...this.options, engine }));
    return outcome.ok ? done(sections) : outcome;
  }

  /** Publishes blocks whose sections are given: those that are stored already are not written again. */
  async write(
    request: Omit<PublishRequest, 'physicalBlocks'>,
    count: number,
    sections: Sections,
  ): Promise<Outcome<Published>> {
    const { shape } = this.options;
    const given = { firstBlock: request.firstBlock, count, lastTokens: BLOCK_TOKENS };
    const ranges = sections.map((section) => blockRanges(section, shape, shape.codec, given));
    if (sections.length !== shape.layers || ranges.includes(undefined)) return misshapen();
    const engine: KvEngine = {
      importBlocks: () => Promise.reject(new Error('this engine only gives')),
      exportBlocks: async (blocks) => {
        const [first, last] = [blocks[0]!, blocks.at(-1)!];
        const layers = sections.map((section, layer) =>
          section.subarray(ranges[layer]![first]!.start, ranges[layer]![last]!.end),
        );
        return { layers, rawBytes: blocks.length * shape.layers * rawBlockBytes(shape, BLOCK_TOKENS) };
      },
    };
    const publisher = new Publisher({ ...this.options, engine });
    const physicalBlocks = Uint32Array.from({ length: count }, (_, index) => index);
    return publisher.publish({ ...request, physicalBlocks }).done;
  }

  async writeTail(request: Omit<TailRequest, 'physicalBlock'>, sections: Sections): Promise<Outcome<StoredTail>> {
    const { shape, writer, onFault } = this.options;
    const { tenant, parentHash, hash, firstToken, tokenCount, sessionId } = request;
    const codec: Codec = 'raw';
    const given = { firstBlock: firstToken / BLOCK_TOKENS, count: 1, lastTokens: tokenCount };
    const isWhole = sections.every((section) => blockRanges(section, shape, codec, given) !== undefined);
    if (sections.length !== shape.layers || !isWhole) return misshapen();
    try {
      const written = await writer.write({
        tenant,
        content: { codec, partial: true, parentHash, firstToken, tokenCount, blockHashes: [hash], sections },
        blocks: [],
        rawBytes: shape.layers * rawBlockBytes(shape, tokenCount),
        ttlSeconds: request.ttlSeconds ?? this.options.ttlSeconds,
        sessionId,
      });
      return done({ objectKey: written.key, storedBytes: written.storedBytes });
    } catch (error) {
      const fault = faultOf(error);
      onFault(fault);
      return { ok: false, fault };
    }
  }
}

function misshapen(): { ok: false; fault: ReturnType<typeof faultOf> } {
  return { ok: false, fault: faultOf(new Mismatch('the sections are not those of these blocks')) };
}

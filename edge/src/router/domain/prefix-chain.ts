import type { PromptInput } from '@longshore/core';

/**
 * A hash chain over the text of a prompt, so that two prompts with the same beginning share hashes without anyone having
 * tokenized them. A hit is a hint for routing and nothing else, so 64 bits of a fast hash are enough: a collision costs a
 * detour, and the organization is hashed first, so one tenant's prompts never meet another's.
 *
 * A hash stands at each boundary: 512, 1,024, 2,048 characters, then every 2,048 up to 512 hashes (about a million characters).
 */
const FIRST_BOUNDARIES = [512, 1024, 2048];
const CHUNK_CHARACTERS = 2048;
export const MAX_CHAIN = 512;

export interface PrefixChain {
  chain: string[];
  characters: number;
}

/** The parts of a prompt as one text whose prefixes are the prompt's prefixes. */
function textOf(input: PromptInput): string {
  if (input.kind === 'text') return input.text;
  if (input.kind === 'tokens') return input.tokens.join(' ');
  return input.messages
    .map(({ role, name, content, toolCalls }) => {
      const calls = toolCalls === undefined ? '' : JSON.stringify(toolCalls);
      return `\u0001${role}\u0002${name ?? ''}\u0002${content}${calls}`;
    })
    .join('');
}

const CHARACTERS_PER_TOKEN_ID = 1.5;

/** Two 32-bit lanes of multiply-xor over UTF-16 code units; the state at a boundary is the hash of everything before it. */
class RollingHash {
  private a = 0xdeadbeef;
  private b = 0x41c6ce57;

  update(text: string, start: number, end: number): void {
    let { a, b } = this;
    for (let index = start; index < end; index++) {
      const unit = text.charCodeAt(index);
      a = Math.imul(a ^ unit, 2654435761);
      b = Math.imul(b ^ unit, 1597334677);
      a ^= b >>> 15;
    }
    this.a = a;
    this.b = b;
  }

  /** 16 hexadecimal digits. */
  digest(): string {
    const a = Math.imul(this.a ^ (this.a >>> 16), 2246822507) ^ Math.imul(this.b ^ (this.b >>> 13), 3266489909);
    const b = Math.imul(this.b ^ (this.b >>> 16), 2246822507) ^ Math.imul(this.a ^ (this.a >>> 13), 3266489909);
    return (a >>> 0).toString(16).padStart(8, '0') + (b >>> 0).toString(16).padStart(8, '0');
  }
}

export function prefixChain(organizationId: string, model: string, input: PromptInput): PrefixChain {
  const text = textOf(input);
  const hash = new RollingHash();
  const seed = `${organizationId}\u0000${model}\u0000${input.kind}\u0000`;
  hash.update(seed, 0, seed.length);
  const chain: string[] = [];
  let start = 0;
  while (chain.length < MAX_CHAIN) {
    const end = FIRST_BOUNDARIES[chain.length] ?? start + CHUNK_CHARACTERS;
    if (end > text.length) break;
    hash.update(text, start, end);
    chain.push(hash.digest());
    start = end;
  }
  const perToken = input.kind === 'tokens' ? CHARACTERS_PER_TOKEN_ID : 1;
  return { chain, characters: Math.round(text.length / perToken) };
}

/** Characters of the prompt's text that the first `count` hashes of a chain cover. */
export function charactersCovered(count: number): number {
  if (count <= 0) return 0;
  return FIRST_BOUNDARIES[count - 1] ?? CHUNK_CHARACTERS * (count - FIRST_BOUNDARIES.length + 1);
}

/** A 32-bit hash of a short string, for breaking ties. */
export function hashString(text: string): number {
  const hash = new RollingHash();
  hash.update(text, 0, text.length);
  return Number.parseInt(hash.digest().slice(0, 8), 16);
}

import {
  BLOCK_TOKENS,
  type CacheIdentity,
  chainRoot,
  equalBytes,
  type MissReason,
  nextHash,
  toHex,
} from '@longshore/core';
import type { DepartureReason } from '@longshore/db';
import { openBlockTokens } from './block-tokens.ts';
import { nearestChange, type RecordedIdentity } from './domain/identity-change.ts';
import { faultOf } from './fault.ts';
import { done, type Outcome, type StoreFault } from './outcome.ts';
import type { MissRecords } from './ports.ts';
import type { TenantKeys } from './tenant-keys.ts';

/** Blocks after the same parent that a prompt is compared with, and namespaces that its first block is looked for in. */
const MAX_SIBLINGS = 32;
const MAX_NAMESPACES = 8;
const MAX_CHAIN_SECRETS = 4;
const NAMESPACES_FOR_MS = 60_000;

export interface ExplainRequest {
  tenant: TenantKeys;
  /** h(0) … of the prompt's chain, at least up to `index`. */
  hashes: readonly Uint8Array[];
  /** The first block that the directory does not know; all 128 tokens of it are the prompt's. */
  index: number;
  tokens: readonly number[];
  /** The namespace that the caller knows its KV was stored under, where that is another one. */
  formerNamespace?: Uint8Array;
}

export interface Explanation {
  reason: MissReason;
  /** Where the prompt leaves every chain that the organization has stored. */
  firstDivergentToken: number;
  /** False where it may also lie later in the same block: more chains branch here than were compared, or some carry no tokens. */
  isExact: boolean;
}

const REASON_OF: Record<DepartureReason, MissReason> = {
  expired: 'expired',
  evicted: 'evicted',
  removed: 'deleted',
  quarantined: 'quarantined',
};

export interface MissExplainerOptions {
  records: MissRecords;
  namespace: Uint8Array;
  identity: CacheIdentity;
  onFault: (fault: StoreFault) => void;
  now: () => number;
}

/** Answers "why was this block not there" from what the organization itself stored. Off every critical path; never rejects. */
export class MissExplainer {
  private readonly options: MissExplainerOptions;
  private known: { at: number; others: Promise<{ namespace: Uint8Array; identity: RecordedIdentity }[]> } | undefined;

  constructor(options: MissExplainerOptions) {
    this.options = options;
  }

  async explain(request: ExplainRequest): Promise<Outcome<Explanation>> {
    try {
      const [reason, divergence] = await Promise.all([this.reasonOf(request), this.divergenceOf(request)]);
      return done({ reason, ...divergence });
    } catch (error) {
      const fault = faultOf(error);
      this.options.onFault(fault);
      return { ok: false, fault };
    }
  }

  private async reasonOf(request: ExplainRequest): Promise<MissReason> {
    const { records } = this.options;
    const { tenant, hashes, index, formerNamespace } = request;
    if (formerNamespace !== undefined) return this.changeFrom(formerNamespace);
    const departure = await records.findDeparture(tenant.organizationId, hashes[index]!);
    if (departure !== undefined) return REASON_OF[departure];
    return (index === 0 ? await this.storedElsewhere(request) : undefined) ?? 'never_seen';
  }

  private async changeFrom(namespace: Uint8Array): Promise<MissReason> {
    const record = await this.options.records.findNamespace(namespace);
    return (record && nearestChange(this.options.identity, [record.identity])) ?? 'identity_changed';
  }

  /** Looks for the prompt's first block in the other namespaces in use, and under the organization's former chain secrets. */
  private async storedElsewhere({ tenant, tokens }: ExplainRequest): Promise<MissReason | undefined> {
    const { records, namespace, identity } = this.options;
    const others = await this.others();
    const secrets = tenant.chainSecrets.slice(0, MAX_CHAIN_SECRETS);
    const candidates = [{ namespace, identity: identity as RecordedIdentity }, ...others].flatMap((place) =>
      secrets.map((secret, age) => ({
        place,
        age,
        hash: nextHash(chainRoot(secret, place.namespace), tokens, 0, BLOCK_TOKENS),
      })),
    );
    const asked = candidates.map((candidate) => candidate.hash);
    const known = new Set((await records.knownHashes(tenant.organizationId, asked)).map(toHex));
    const found = candidates.filter((candidate) => known.has(toHex(candidate.hash)));
    if (found.some((candidate) => candidate.place.namespace === namespace && candidate.age > 0)) return 'tenant_scope';
    const elsewhere = found.filter((candidate) => candidate.place.namespace !== namespace);
    return nearestChange(
      identity,
      elsewhere.map((candidate) => candidate.place.identity),
    );
  }

  private others(): Promise<{ namespace: Uint8Array; identity: RecordedIdentity }[]> {
    const { records, namespace, now } = this.options;
    if (this.known !== undefined && now() - this.known.at < NAMESPACES_FOR_MS) return this.known.others;
    const others = records.recentNamespaces(namespace, MAX_NAMESPACES);
    this.known = { at: now(), others };
    others.catch(() => {
      this.known = undefined;
    });
    return others;
  }

  private async divergenceOf(request: ExplainRequest): Promise<Omit<Explanation, 'reason'>> {
    const { tenant, hashes, index, tokens } = request;
    const parent = index === 0 ? tenant.root : hashes[index - 1]!;
    const first = index * BLOCK_TOKENS;
    const siblings = await this.options.records.findSiblings(tenant.organizationId, parent, MAX_SIBLINGS + 1);
    let furthest = first;
    let isExact = siblings.length <= MAX_SIBLINGS;
    // The prompt's own block may be among them by now: it is being published meanwhile.
    const others = siblings.slice(0, MAX_SIBLINGS).filter(({ hash }) => !equalBytes(hash, hashes[index]!));
    for (const { hash, sealedTokens } of others) {
      const theirs = openBlockTokens(tenant, hash, sealedTokens);
      if (theirs === undefined) isExact = false;
      const differs = theirs?.findIndex((token, at) => token !== tokens[first + at]) ?? 0;
      if (differs > 0) furthest = Math.max(furthest, first + differs);
    }
    return { firstDivergentToken: furthest, isExact };
  }
}

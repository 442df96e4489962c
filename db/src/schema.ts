import { sql } from 'drizzle-orm';
import {
  bigint,
  bigserial,
  boolean,
  customType,
  doublePrecision,
  index,
  integer,
  jsonb,
  numeric,
  pgEnum,
  pgTable,
  primaryKey,
  text,
  timestamp,
} from 'drizzle-orm/pg-core';

/** The one description of every table; migrations/ is generated from it (npm run -w db generate). */

/** Plain Uint8Array both ways: the driver's Buffers are views of a shared pool, which a careless `.buffer` would leak. */
const bytea = customType<{ data: Uint8Array; driverData: Uint8Array }>({
  dataType: () => 'bytea',
  fromDriver: (value) => new Uint8Array(value),
});
const at = (name: string) => timestamp(name, { withTimezone: true, mode: 'date' });
const bytes = (name: string) => bigint(name, { mode: 'number' });

export const organizations = pgTable('organizations', {
  id: text('id').primaryKey(),
  name: text('name').notNull(),
  createdAt: at('created_at').notNull().defaultNow(),
  /** Set once: keys and cache are gone from then on, and the row stays for what is still to be billed. */
  deletedAt: at('deleted_at'),
});

export const projects = pgTable('projects', {
  id: text('id').primaryKey(),
  organizationId: text('organization_id')
    .notNull()
    .references(() => organizations.id),
  name: text('name').notNull(),
  createdAt: at('created_at').notNull().defaultNow(),
});

export const userRole = pgEnum('user_role', ['owner', 'admin', 'viewer']);

export const users = pgTable('users', {
  id: text('id').primaryKey(),
  organizationId: text('organization_id')
    .notNull()
    .references(() => organizations.id),
  email: text('email').notNull().unique(),
  role: userRole('role').notNull(),
  createdAt: at('created_at').notNull().defaultNow(),
});

export const apiKeys = pgTable(
  'api_keys',
  {
    id: text('id').primaryKey(),
    organizationId: text('organization_id')
      .notNull()
      .references(() => organizations.id),
    projectId: text('project_id')
      .notNull()
      .references(() => projects.id),
    createdBy: text('created_by').references(() => users.id),
    /** Hex SHA-256 of the whole key. */
    hash: text('hash').notNull().unique(),
    display: text('display').notNull(),
    name: text('name').notNull(),
    scopes: text('scopes').array().notNull(),
    /** null: every model. */
    models: text('models').array(),
    expiresAt: at('expires_at'),
    disabledAt: at('disabled_at'),
    lastUsedAt: at('last_used_at'),
    createdAt: at('created_at').notNull().defaultNow(),
  },
  (table) => [index('api_keys_organization').on(table.organizationId)],
);

/** An organization's data key (seals objects) and chain secret (roots its hash chains), both wrapped by the master key. */
export const dataKeys = pgTable(
  'data_keys',
  {
    /** The 16 bytes that stand in object headers. */
    id: bytea('id').primaryKey(),
    organizationId: text('organization_id')
      .notNull()
      .references(() => organizations.id),
    wrappedDataKey: bytea('wrapped_data_key').notNull(),
    wrappedChainSecret: bytea('wrapped_chain_secret').notNull(),
    createdAt: at('created_at').notNull().defaultNow(),
    retiredAt: at('retired_at'),
  },
  (table) => [index('data_keys_organization').on(table.organizationId)],
);

export const objectState = pgEnum('kv_object_state', ['reserved', 'ready', 'quarantined', 'tombstone']);

/** One stored object: consecutive blocks of one chain, or a session's partial tail. */
export const kvObjects = pgTable(
  'kv_objects',
  {
    key: text('key').primaryKey(),
    organizationId: text('organization_id')
      .notNull()
      .references(() => organizations.id),
    namespace: bytea('namespace').notNull(),
    state: objectState('state').notNull(),
    firstToken: integer('first_token').notNull(),
    tokenCount: integer('token_count').notNull(),
    /** Chain hash before the object's first block; null for a session's tail and for objects of the chain's root. */
    parentHash: bytea('parent_hash'),
    /** Stored size, header included. */
    storedBytes: bytes('stored_bytes').notNull(),
    /** The same KV in the engine's dtype, before the codec. */
    rawBytes: bytes('raw_bytes').notNull(),
    codec: text('codec').notNull(),
    /** Set for a session's tail: such an object has no block rows. */
    sessionId: text('session_id'),
    workerId: text('worker_id').notNull(),
    createdAt: at('created_at').notNull().defaultNow(),
    readyAt: at('ready_at'),
    lastUsedAt: at('last_used_at').notNull().defaultNow(),
    expiresAt: at('expires_at').notNull(),
    /** When it stopped being readable: the grace before its bytes go counts from here. */
    retiredAt: at('retired_at'),
    /** Why it was retired: expired, removed, abandoned, lost_race, superseded, or what a quarantine found. */
    retiredReason: text('retired_reason'),
  },
  (table) => [
    index('kv_objects_state').on(table.state, table.createdAt),
    index('kv_objects_expiry').on(table.expiresAt),
    index('kv_objects_session').on(table.sessionId),
    index('kv_objects_organization').on(table.organizationId),
    /** Least recently used first: what an organization over its quota gives up. */
    index('kv_objects_recency').on(table.organizationId, table.lastUsedAt).where(sql`state = 'ready'`),
    /** The sweeper walks rows and bucket side by side, in the bucket's order. */
    index('kv_objects_walk').on(sql`(key collate "C")`),
    index('kv_objects_reserved_parent').on(table.parentHash).where(sql`state = 'reserved'`),
  ],
);

/**
 * Objects that neither time nor space may take, one row for each holder: a session's id, or a name that an operator gave. Pins
 * are set along whole chains, so an object's ancestors are pinned with it.
 */
export const kvPins = pgTable(
  'kv_pins',
  {
    objectKey: text('object_key')
      .notNull()
      .references(() => kvObjects.key, { onDelete: 'cascade' }),
    holder: text('holder').notNull(),
  },
  (table) => [primaryKey({ columns: [table.objectKey, table.holder] }), index('kv_pins_holder').on(table.holder)],
);

/** One row per organization that ever stored something; a trigger on kv_objects keeps held_bytes (migrations, kv_ledger). */
export const kvAccounts = pgTable('kv_accounts', {
  organizationId: text('organization_id')
    .primaryKey()
    .references(() => organizations.id),
  /** null: the platform's default applies. */
  quotaBytes: bytes('quota_bytes'),
  /** Stored bytes of reserved and ready objects: what counts against the quota. */
  heldBytes: bytes('held_bytes').notNull().default(0),
});

/**
 * Append-only: how an organization's ready (billed) bytes changed, written by a trigger on kv_objects in the transaction that
 * changed them. The integral over time is linear in these rows, so their order does not matter.
 */
export const kvMeterEvents = pgTable(
  'kv_meter_events',
  {
    id: bigserial('id', { mode: 'number' }).primaryKey(),
    organizationId: text('organization_id').notNull(),
    at: at('at').notNull(),
    deltaBytes: bytes('delta_bytes').notNull(),
  },
  (table) => [index('kv_meter_events_organization').on(table.organizationId, table.at)],
);

/** Older events folded into whole hours, so that the meter's rows are bounded by time, not by traffic. */
export const kvMeterHours = pgTable(
  'kv_meter_hours',
  {
    organizationId: text('organization_id').notNull(),
    hour: at('hour').notNull(),
    byteSeconds: numeric('byte_seconds').notNull(),
  },
  (table) => [primaryKey({ columns: [table.organizationId, table.hour] })],
);

/**
 * The block directory: chain hash -> object. The hash is tenant-bound, so it is a key on its own. A row outlives its object's
 * readiness, so that a miss can say why; a new publish takes such a row over.
 */
export const kvBlocks = pgTable(
  'kv_blocks',
  {
    hash: bytea('hash').primaryKey(),
    organizationId: text('organization_id')
      .notNull()
      .references(() => organizations.id),
    parentHash: bytea('parent_hash').notNull(),
    /** Position in the chain: block covers tokens [128·index, 128·index + 128). */
    blockIndex: integer('block_index').notNull(),
    objectKey: text('object_key')
      .notNull()
      .references(() => kvObjects.key, { onDelete: 'cascade' }),
    indexInObject: integer('index_in_object').notNull(),
    /** The block's u32-LE token ids under the organization's data key: what tells a miss where a prompt left a stored chain. */
    sealedTokens: bytea('sealed_tokens'),
  },
  (table) => [index('kv_blocks_object').on(table.objectKey), index('kv_blocks_parent').on(table.parentHash)],
);

/** What the KV under a namespace is made of: tells a miss which part of the identity changed. Nothing of a tenant. */
export const kvNamespaces = pgTable(
  'kv_namespaces',
  {
    namespace: bytea('namespace').primaryKey(),
    /** core's CacheIdentity; the model's configuration as its hex SHA-256. */
    identity: jsonb('identity').$type<Record<string, unknown>>().notNull(),
    firstSeenAt: at('first_seen_at').notNull().defaultNow(),
    lastSeenAt: at('last_seen_at').notNull().defaultNow(),
  },
  (table) => [index('kv_namespaces_seen').on(table.lastSeenAt)],
);

/** Blocks whose rows are gone, and why: a miss can name its reason long after the bytes went. Kept for a bounded time. */
export const kvDepartures = pgTable(
  'kv_departures',
  {
    hash: bytea('hash').primaryKey(),
    organizationId: text('organization_id')
      .notNull()
      .references(() => organizations.id, { onDelete: 'cascade' }),
    /** The object's retired_reason, or `quarantined`. */
    reason: text('reason').notNull(),
    departedAt: at('departed_at').notNull().defaultNow(),
  },
  (table) => [index('kv_departures_age').on(table.departedAt)],
);

/** Single-flight between workers: who computes the block with this hash right now. */
export const leases = pgTable('leases', {
  hash: bytea('hash').primaryKey(),
  organizationId: text('organization_id').notNull(),
  workerId: text('worker_id').notNull(),
  epoch: text('epoch').notNull(),
  expiresAt: at('expires_at').notNull(),
  /** Index in its chain of the block that the hash names. */
  firstBlock: integer('first_block').notNull().default(0),
  /** The claimed blocks' hashes from the first on, 8 bytes of each: how far the claim reaches along another prompt's chain. */
  chain: bytea('chain'),
  /** How far the holder is: blocks from the chain's start that it has on its device. */
  computedBlocks: integer('computed_blocks').notNull().default(0),
  /** What a block costs the holder, as it estimates. */
  blockMs: doublePrecision('block_ms'),
});

export const sessionStatus = pgEnum('session_status', ['creating', 'ready', 'failed', 'deleted']);

export const sessions = pgTable(
  'sessions',
  {
    id: text('id').primaryKey(),
    organizationId: text('organization_id')
      .notNull()
      .references(() => organizations.id),
    projectId: text('project_id')
      .notNull()
      .references(() => projects.id),
    model: text('model').notNull(),
    status: sessionStatus('status').notNull(),
    label: text('label'),
    metadata: jsonb('metadata').$type<Record<string, string>>().notNull().default({}),
    tokenCount: integer('token_count').notNull().default(0),
    turnCount: integer('turn_count').notNull().default(0),
    /** Sealed with the organization's data key: u32-LE token ids, and the JSON transcript {text, messages}. */
    sealedTokens: bytea('sealed_tokens'),
    sealedTranscript: bytea('sealed_transcript'),
    /** The session that they were sealed for where it is not this one: a fork carries its origin's until its first turn. */
    sealedFor: text('sealed_for'),
    forkedFrom: text('forked_from'),
    /** Chain hash of the last whole block that is stored for the session: its ancestors are the session's cache. */
    headHash: bytea('head_hash'),
    /** Object of the partial last block, when there is one. */
    tailObjectKey: text('tail_object_key'),
    /** Optimistic concurrency: a turn commits only if it still finds the version that it started from. */
    version: integer('version').notNull().default(0),
    /** Worker that last held the session's blocks: a routing hint. */
    workerId: text('worker_id'),
    error: text('error'),
    ttlSeconds: integer('ttl_seconds').notNull(),
    pinned: boolean('pinned').notNull().default(false),
    createdAt: at('created_at').notNull().defaultNow(),
    lastUsedAt: at('last_used_at').notNull().defaultNow(),
    expiresAt: at('expires_at').notNull(),
    deletedAt: at('deleted_at'),
  },
  (table) => [
    index('sessions_organization').on(table.organizationId, table.createdAt),
    index('sessions_expiry').on(table.expiresAt),
    index('sessions_tail').on(table.tailObjectKey),
    index('sessions_head').on(table.headHash),
  ],
);

export const turns = pgTable(
  'turns',
  {
    sessionId: text('session_id')
      .notNull()
      .references(() => sessions.id, { onDelete: 'cascade' }),
    /** 0 is the prefill that created the session. */
    index: integer('index').notNull(),
    requestId: text('request_id').notNull(),
    workerId: text('worker_id').notNull(),
    promptTokens: integer('prompt_tokens').notNull(),
    cachedTokens: integer('cached_tokens').notNull(),
    completionTokens: integer('completion_tokens').notNull(),
    /** Tokens of the whole session after this turn. */
    tokenCount: integer('token_count'),
    finishReason: text('finish_reason').notNull(),
    tier: text('tier').notNull(),
    ttftMs: doublePrecision('ttft_ms').notNull(),
    createdAt: at('created_at').notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.sessionId, table.index] })],
);

/** One row per API request that reached a worker: what is billed and what the console shows. */
export const usage = pgTable(
  'usage',
  {
    requestId: text('request_id').primaryKey(),
    organizationId: text('organization_id').notNull(),
    projectId: text('project_id').notNull(),
    apiKeyId: text('api_key_id').notNull(),
    model: text('model').notNull(),
    endpoint: text('endpoint').notNull(),
    status: text('status').notNull(),
    workerId: text('worker_id'),
    promptTokens: integer('prompt_tokens').notNull(),
    cachedTokens: integer('cached_tokens').notNull(),
    completionTokens: integer('completion_tokens').notNull(),
    tier: text('tier').notNull(),
    /** The cache's decision and, for what it could not give, why. */
    decision: text('decision'),
    missReason: text('miss_reason'),
    firstDivergentToken: integer('first_divergent_token'),
    /** Bytes read from tiers below the device, and the prefill time that the cache saved. */
    loadedBytes: bytes('loaded_bytes'),
    savedMs: doublePrecision('saved_ms'),
    ttftMs: doublePrecision('ttft_ms'),
    totalMs: doublePrecision('total_ms').notNull(),
    createdAt: at('created_at').notNull().defaultNow(),
  },
  (table) => [index('usage_organization').on(table.organizationId, table.createdAt)],
);

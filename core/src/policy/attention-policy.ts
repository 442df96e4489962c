import { z } from 'zod';

const MAX_TOKENS = 2 ** 24;
const tokens = z.int().min(0).max(MAX_TOKENS);
const atLeastOne = z.int().min(1).max(MAX_TOKENS);
const share = z.number().min(0).max(1);
/** One selection for the query heads of a KV head that have this policy: the union of theirs. */
const shared = z.boolean().default(false);

/** Which keys one head reads in prefill. Lengths in tokens count whole blocks of 128, rounded up. */
export const headPolicySchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('dense') }),
  /** The first `sink` and the last `window` tokens. */
  z.strictObject({ type: z.literal('a_shape'), sink: tokens, window: atLeastOne }),
  /** The columns and diagonals with most mass under a query block's last 64 queries. */
  z.strictObject({ type: z.literal('vertical_slash'), vertical: tokens, slash: tokens, shared }),
  /** The `top_k` blocks whose mean key scores best with the query block's mean. */
  z.strictObject({ type: z.literal('block_sparse'), top_k: atLeastOne, shared }),
  /**
   * Blocks whose mean key gets at least `alpha` of the best block's energy; of those, with `tau` > 0, the ones that give some row at
   * least `tau` of its mass. `mean_correction`: pruned blocks count by their means.
   */
  z.strictObject({
    type: z.literal('block_energy'),
    alpha: share,
    sink: tokens,
    window: atLeastOne,
    tau: share.default(0),
    mean_correction: z.boolean().default(false),
    shared,
  }),
]);

/** How single tokens attend to contexts of `min_tokens` and more (native/engine/decode); what is absent keeps the engine's default. */
export const decodePolicySchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('dense') }),
  z.strictObject({
    type: z.literal('sketch_topk'),
    min_tokens: atLeastOne.optional(),
    sink: tokens.optional(),
    window: atLeastOne.optional(),
    dense_layers: tokens.optional(),
    /** Share of keys that is scored exactly, and the mass of those whose values are read. */
    rescore: share.optional(),
    min_rescore: z.int().min(16).max(MAX_TOKENS).optional(),
    keep: share.optional(),
    /** Tokens at multiples of this position count the mass they keep, at a dense token's cost; 0: none. */
    measure_every: tokens.optional(),
  }),
  z.strictObject({
    type: z.literal('block_topk'),
    min_tokens: atLeastOne.optional(),
    sink: tokens.optional(),
    window: atLeastOne.optional(),
    dense_layers: tokens.optional(),
    /** Share of the blocks that is read. */
    blocks: share.optional(),
    measure_every: tokens.optional(),
  }),
  z.strictObject({
    type: z.literal('graph'),
    min_tokens: atLeastOne.optional(),
    sink: tokens.optional(),
    window: atLeastOne.optional(),
    dense_layers: tokens.optional(),
    /** Keys that a search follows, the share of all that it may score, and the mass of those whose values are read. */
    beam: z.int().min(1).max(1024).optional(),
    scan: share.optional(),
    keep: share.optional(),
    /** How the graph is made: a query in so many positions teaches it, so many keys of each are linked, and so many links a key has. */
    sample: z.union([4, 8, 16, 32, 64, 128].map((every) => z.literal(every))).optional(),
    nearest: z.int().min(2).max(1024).optional(),
    degree: z.int().min(2).max(1024).optional(),
    measure_every: tokens.optional(),
  }),
]);

/**
 * The policy file that the engine reads (native/engine/policy). Query blocks that end at or below `min_tokens` are dense; a layer's
 * `default` goes before the policy's, and `heads` (by query head) before both.
 */
export const attentionPolicySchema = z.strictObject({
  format: z.literal('longshore-attention-policy'),
  version: z.literal(1),
  /** For people. */
  model: z.string().optional(),
  /** The model that it was measured on: the engine refuses another's layers and heads, and finds a model's "default" by all of them. */
  shape: z
    .strictObject({
      layers: atLeastOne,
      hidden: atLeastOne,
      heads: atLeastOne,
      kv_heads: atLeastOne,
      head_dim: atLeastOne,
      vocab: atLeastOne,
    })
    .optional(),
  min_tokens: tokens.default(0),
  default: headPolicySchema,
  layers: z
    .array(
      z.strictObject({
        layer: z.int().min(0).max(4095),
        default: headPolicySchema.optional(),
        heads: z.record(z.string().regex(/^(0|[1-9]\d{0,3})$/), headPolicySchema).optional(),
      }),
    )
    .optional(),
  decode: decodePolicySchema.optional(),
});

export type HeadPolicy = z.output<typeof headPolicySchema>;
export type AttentionPolicy = z.output<typeof attentionPolicySchema>;

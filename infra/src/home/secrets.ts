import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { isWellFormedApiKey } from '@longshore/core';
import { z } from 'zod';
import { Failure } from '../failure.ts';
import type { Home } from './home.ts';

const secretsSchema = z.object({
  masterKey: z.string().regex(/^[0-9a-f]{64}$/),
  poolToken: z.string().min(32),
  databasePassword: z.string().min(16),
  objectStore: z.object({ accessKeyId: z.string(), secretAccessKey: z.string() }),
  /** Organization id -> its first API key, kept so that a second start can print it again. */
  apiKeys: z.record(z.string(), z.string().refine(isWellFormedApiKey)).default({}),
});
export type Secrets = z.infer<typeof secretsSchema>;

const random = (bytes: number): string => randomBytes(bytes).toString('hex');

/** The home's secrets, made at the first call. They open the database and every stored block: back them up with the data. */
export function loadSecrets(home: Home): Secrets {
  if (!existsSync(home.secretsFile)) {
    saveSecrets(home, {
      masterKey: random(32),
      poolToken: random(32),
      databasePassword: random(16),
      objectStore: { accessKeyId: `LS${random(8).toUpperCase()}`, secretAccessKey: random(20) },
      apiKeys: {},
    });
  }
  try {
    return secretsSchema.parse(JSON.parse(readFileSync(home.secretsFile, 'utf8')));
  } catch (cause) {
    throw new Failure(
      `${home.secretsFile} cannot be read as secrets: restore it from a backup, or remove ${home.folder} to start anew (its database and stored blocks are lost without it)`,
      { cause },
    );
  }
}

/** Written whole and renamed: a crash leaves the old file. */
export function saveSecrets(home: Home, secrets: Secrets): void {
  const temporary = `${home.secretsFile}.new`;
  writeFileSync(temporary, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600 });
  renameSync(temporary, home.secretsFile);
}

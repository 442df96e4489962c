import { ALL_SCOPES, bootstrapOrganization, createApiKey, createDatabase } from '@longshore/db';
import { migrate } from '@longshore/db/migrate';
import { Failure } from '../failure.ts';
import type { Home } from '../home/home.ts';
import { loadSecrets, saveSecrets } from '../home/secrets.ts';

const OWNER_EMAIL = 'owner@longshore.local';

export interface Access {
  organizationId: string;
  projectId: string;
  userId: string;
  apiKey: string;
}

const bytes = (hex: string): Uint8Array<ArrayBuffer> => Uint8Array.from(Buffer.from(hex, 'hex'));

/** Brings the database to this build's schema. */
export async function migrateDatabase(url: string): Promise<void> {
  try {
    await migrate(url);
  } catch (cause) {
    const { host } = new URL(url);
    throw new Failure(
      `the database at ${host} could not be migrated: ${(cause as Error).message}; check DATABASE_URL`,
      {
        cause,
      },
    );
  }
}

/** Organization, admin and first key, made once; the key is kept in the home's secrets, so that each start can print it. */
export async function ensureAccess(home: Home, databaseUrl: string, masterKey: string): Promise<Access> {
  const client = createDatabase(databaseUrl, { max: 1 });
  try {
    const made = await bootstrapOrganization(client.db, {
      organization: 'Local organization',
      ownerEmail: OWNER_EMAIL,
      masterKey: bytes(masterKey),
    });
    const { organizationId, projectId, userId } = made;
    const secrets = loadSecrets(home);
    let apiKey = made.apiKey ?? secrets.apiKeys[organizationId];
    // Another home made this organization, or a crash came between the commit and the file.
    apiKey ??= (
      await createApiKey(client.db, {
        organizationId,
        projectId,
        createdBy: userId,
        name: 'npm start',
        scopes: ALL_SCOPES,
      })
    ).apiKey;
    if (secrets.apiKeys[organizationId] !== apiKey) {
      saveSecrets(home, { ...secrets, apiKeys: { ...secrets.apiKeys, [organizationId]: apiKey } });
    }
    return { organizationId, projectId, userId, apiKey };
  } finally {
    await client.close();
  }
}

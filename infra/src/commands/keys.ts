import { ALL_SCOPES, createApiKey, createDatabase, listApiKeys, revokeApiKey } from '@longshore/db';
import { readConfig } from '../config.ts';
import { Failure } from '../failure.ts';
import { Home } from '../home/home.ts';
import { loadSecrets } from '../home/secrets.ts';
import { ensureAccess } from '../platform/first-key.ts';
import { readRun } from '../platform/run-file.ts';
import { parseArguments } from './arguments.ts';

const write = (line: string): void => void process.stdout.write(`${line}\n`);

/** `longshore keys create [--name TEXT] [--scopes a,b] [--models a,b] [--days N]`, `keys list`, `keys revoke <id>`. */
export async function keys(args: string[]): Promise<number> {
  const flags = parseArguments(args, [
    { name: 'name', type: 'string' },
    { name: 'scopes', type: 'string' },
    { name: 'models', type: 'string' },
    { name: 'days', type: 'string' },
  ]);
  const [verb, id] = flags.positionals;
  const config = readConfig(process.env);
  const home = new Home(config.home);
  const databaseUrl = config.databaseUrl ?? readRun(home)?.databaseUrl;
  if (!databaseUrl) throw new Failure('no database runs: start the platform (npm start), or set DATABASE_URL');
  const access = await ensureAccess(home, databaseUrl, config.masterKey ?? loadSecrets(home).masterKey);
  const { db, close } = createDatabase(databaseUrl, { max: 1 });
  try {
    if (verb === 'create') {
      const days = flags.number('days');
      const made = await createApiKey(db, {
        ...access,
        createdBy: access.userId,
        name: flags.text('name') ?? 'Key',
        scopes: checkScopes(flags.text('scopes')),
        ...(flags.text('models') ? { models: flags.text('models')!.split(',') } : {}),
        ...(days === undefined ? {} : { expiresAt: new Date(Date.now() + days * 86_400_000) }),
      });
      write(`${made.id}  ${made.apiKey}`);
      write('It is shown this once.');
      return 0;
    }
    if (verb === 'list') {
      for (const key of await listApiKeys(db, access.organizationId)) {
        const state = key.disabledAt ? 'revoked' : key.expiresAt && key.expiresAt < new Date() ? 'expired' : 'active';
        write(
          `${key.id}  ${key.display}  ${state}  ${key.scopes.join(',')}  last used ${key.lastUsedAt?.toISOString() ?? 'never'}  ${key.name}`,
        );
      }
      return 0;
    }
    if (verb === 'revoke' && id) {
      if (!(await revokeApiKey(db, access.organizationId, id)))
        throw new Failure(`no active key ${id}: see "longshore keys list"`);
      write(`${id} is revoked; the edge refuses it within 5 seconds`);
      return 0;
    }
  } finally {
    await close();
  }
  throw new Failure(
    'usage: longshore keys create [--name TEXT] [--scopes a,b] [--models a,b] [--days N], keys list, keys revoke <id>',
  );
}

function checkScopes(text: string | undefined): string[] {
  if (text === undefined) return ['inference', 'sessions', 'caches'];
  const scopes = text.split(',');
  const unknown = scopes.find((scope) => !(ALL_SCOPES as readonly string[]).includes(scope));
  if (unknown) throw new Failure(`no scope "${unknown}"; there are ${ALL_SCOPES.join(', ')}`);
  return scopes;
}

import {
  ALL_SCOPES,
  createApiKey,
  createDatabase,
  listApiKeys,
  masterKeyFrom,
  revokeApiKey,
  rewrapDataKeys,
  rotateDataKeys,
} from '@longshore/db';
import { readConfig } from '../config.ts';
import { Failure } from '../failure.ts';
import { Home } from '../home/home.ts';
import { loadSecrets } from '../home/secrets.ts';
import { ensureAccess } from '../platform/first-key.ts';
import { runningDatabase } from '../platform/running-database.ts';
import { parseArguments } from './arguments.ts';

const write = (line: string): void => void process.stdout.write(`${line}\n`);

/** `longshore keys`: API keys (create, list, revoke), an organization's data keys (rotate-data), the master key over them (rewrap). */
export async function keys(args: string[]): Promise<number> {
  const flags = parseArguments(args, [
    { name: 'name', type: 'string' },
    { name: 'scopes', type: 'string' },
    { name: 'models', type: 'string' },
    { name: 'days', type: 'string' },
    { name: 'keep-chain', type: 'boolean' },
  ]);
  const [verb, id] = flags.positionals;
  const config = readConfig(process.env);
  const home = new Home(config.home);
  const databaseUrl = runningDatabase();
  const masterKey = config.masterKey ?? loadSecrets(home).masterKey;
  const access = await ensureAccess(home, databaseUrl, masterKey);
  const master = masterKeyFrom(masterKey, config.previousMasterKey);
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
    if (verb === 'rotate-data' && id) {
      const keepChain = flags.has('keep-chain');
      const rotated = await rotateDataKeys(db, master, id, { keepChain });
      if (!rotated) throw new Failure(`no living organization ${id}: see "longshore organizations list"`);
      write(`${id} has a new data key; workers use it within 30 seconds`);
      if (keepChain) write('Its chain secret stays: what is cached is found as before, and opened with the old key.');
      else
        write(
          `Its chain secret is new: nothing that was cached can be found, so ${rotated.retiredObjects} objects were retired; sessions compute their tokens again at their next turn.`,
        );
      return 0;
    }
    if (verb === 'rewrap') {
      write(`${await rewrapDataKeys(db, master)} keys are wrapped by the present master key`);
      if (config.previousMasterKey)
        write('LONGSHORE_MASTER_KEY_PREVIOUS is no longer needed: leave it out everywhere.');
      return 0;
    }
  } finally {
    await close();
  }
  throw new Failure(
    'usage: longshore keys create [--name TEXT] [--scopes a,b] [--models a,b] [--days N], keys list, keys revoke <id>, keys rotate-data <organization> [--keep-chain], keys rewrap',
  );
}

function checkScopes(text: string | undefined): string[] {
  if (text === undefined) return ['inference', 'sessions', 'caches'];
  const scopes = text.split(',');
  const unknown = scopes.find((scope) => !(ALL_SCOPES as readonly string[]).includes(scope));
  if (unknown) throw new Failure(`no scope "${unknown}"; there are ${ALL_SCOPES.join(', ')}`);
  return scopes;
}

import {
  byteSeconds,
  createDatabase,
  type Database,
  deleteOrganization,
  kvAccount,
  listOrganizations,
  setQuota,
} from '@longshore/db';
import { Failure } from '../failure.ts';
import { runningDatabase } from '../platform/running-database.ts';
import { parseArguments } from './arguments.ts';

const write = (line: string): void => void process.stdout.write(`${line}\n`);
const DAY_MS = 86_400_000;
const USAGE =
  'usage: longshore organizations list, quota <id> <bytes|default>, usage <id> [--days N], delete <id> --yes';

/** `longshore organizations`: what each stores, may store and is billed for; and its end. */
export async function organizations(args: string[]): Promise<number> {
  const flags = parseArguments(args, [
    { name: 'days', type: 'string' },
    { name: 'yes', type: 'boolean' },
  ]);
  const [verb, id, value] = flags.positionals;
  const { db, close } = createDatabase(runningDatabase(), { max: 1 });
  try {
    if (verb === 'list') return await list(db);
    if (verb === 'quota' && id && value) return await quota(db, id, value);
    if (verb === 'usage' && id) return await usage(db, id, flags.number('days') ?? 30);
    if (verb === 'delete' && id) {
      if (!flags.has('yes'))
        throw new Failure(`deleting ${id} destroys its keys: nothing it stored can be read again. Add --yes to do it`);
      const deleted = await deleteOrganization(db, id);
      if (!deleted) throw new Failure(`no living organization ${id}: see "longshore organizations list"`);
      write(
        `${id} is deleted: ${deleted.dataKeys} keys destroyed, ${deleted.objects} objects and ${deleted.sessions} sessions`,
      );
      write('The workers’ sweepers delete the bytes within minutes.');
      return 0;
    }
  } finally {
    await close();
  }
  throw new Failure(USAGE);
}

async function list(db: Database): Promise<number> {
  for (const { id, name, heldBytes, quotaBytes, deletedAt } of await listOrganizations(db))
    write(`${id}  ${deletedAt ? 'deleted' : `${heldBytes} of ${quotaBytes ?? 'the default'} bytes`}  ${name}`);
  return 0;
}

async function quota(db: Database, id: string, value: string): Promise<number> {
  if (value !== 'default' && !/^\d+$/.test(value))
    throw new Failure(`a quota is a number of bytes, or "default"; ${USAGE}`);
  if (!(await setQuota(db, id, value === 'default' ? null : Number(value))))
    throw new Failure(`no living organization ${id}: see "longshore organizations list"`);
  const { heldBytes } = await kvAccount(db, id);
  write(
    `${id} may store ${value === 'default' ? 'what the platform allows by default' : `${value} bytes`}, and holds ${heldBytes}`,
  );
  return 0;
}

async function usage(db: Database, id: string, days: number): Promise<number> {
  const to = new Date();
  const from = new Date(to.getTime() - days * DAY_MS);
  write(`${await byteSeconds(db, id, from, to)} byte-seconds from ${from.toISOString()} to ${to.toISOString()}`);
  return 0;
}

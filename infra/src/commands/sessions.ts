import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream as NodeReadableStream } from 'node:stream/web';
import { readConfig } from '../config.ts';
import { Failure } from '../failure.ts';
import { Home } from '../home/home.ts';
import { loadSecrets } from '../home/secrets.ts';
import { readRun } from '../platform/run-file.ts';
import { parseArguments } from './arguments.ts';

const USAGE =
  'usage: longshore sessions export <id> [--out FILE], sessions import <file> [--label TEXT] [--ttl-seconds N] [--model NAME]';
const write = (line: string): void => void process.stdout.write(`${line}\n`);

interface Api {
  url: string;
  key: string;
}

/** LONGSHORE_URL and LONGSHORE_API_KEY, or what runs on this home and its first key. */
function findApi(): Api {
  const config = readConfig(process.env);
  const home = new Home(config.home);
  const url = process.env.LONGSHORE_URL || readRun(home)?.url;
  if (!url) throw new Failure('nothing runs here: start the platform (npm start), or set LONGSHORE_URL');
  const key = process.env.LONGSHORE_API_KEY || Object.values(loadSecrets(home).apiKeys)[0];
  if (!key) throw new Failure('no API key: set LONGSHORE_API_KEY');
  return { url, key };
}

async function call({ url, key }: Api, path: string, init: RequestInit = {}): Promise<Response> {
  const headers = { authorization: `Bearer ${key}` };
  const response = await fetch(new URL(path, url), { ...init, headers }).catch((cause: unknown) => {
    throw new Failure(`${url} does not answer`, { cause });
  });
  if (response.ok) return response;
  const body = (await response.json().catch(() => undefined)) as { error?: { message?: string } } | undefined;
  throw new Failure(body?.error?.message ?? `${url} answered ${response.status}`);
}

/** `longshore sessions export <id>` and `import <file>`: a session with its cache as one file. */
export async function sessions(args: string[]): Promise<number> {
  const flags = parseArguments(args, [
    { name: 'out', type: 'string' },
    { name: 'label', type: 'string' },
    { name: 'ttl-seconds', type: 'string' },
    { name: 'model', type: 'string' },
  ]);
  const [verb, what, ...rest] = flags.positionals;
  if (what === undefined || rest.length > 0) throw new Failure(USAGE);
  if (verb === 'export') return exportTo(findApi(), what, flags.text('out') ?? `${what}.lssx`);
  if (verb !== 'import') throw new Failure(USAGE);
  const ttl = flags.number('ttl-seconds');
  const query = new URLSearchParams({
    ...(flags.text('label') ? { label: flags.text('label')! } : {}),
    ...(ttl === undefined ? {} : { ttl_seconds: String(ttl) }),
    ...(flags.text('model') ? { model: flags.text('model')! } : {}),
  });
  return importFrom(findApi(), what, query);
}

/** Under another name until it is whole. */
async function exportTo(api: Api, id: string, path: string): Promise<number> {
  const response = await call(api, `/v1/sessions/${encodeURIComponent(id)}/export`);
  const partial = `${path}.part`;
  try {
    await pipeline(Readable.fromWeb(response.body as NodeReadableStream), createWriteStream(partial, { mode: 0o600 }));
    await rename(partial, path);
  } catch (cause) {
    await rm(partial, { force: true });
    throw new Failure(`the export broke off: ${(cause as Error).message}`, { cause });
  }
  write(
    `${path}  ${(await stat(path)).size} bytes: the session's text and cache in clear, keep it as you would the text`,
  );
  return 0;
}

interface Imported {
  id: string;
  token_count: number;
  import: { blocks_imported: number; blocks_total: number; recomputed_tokens: number; reason: string | null };
}

async function importFrom(api: Api, path: string, query: URLSearchParams): Promise<number> {
  const isThere = await stat(path).then(
    (info) => info.isFile(),
    () => false,
  );
  if (!isThere) throw new Failure(`there is no file ${path}`);
  const body = Readable.toWeb(createReadStream(path, { highWaterMark: 1024 * 1024 })) as ReadableStream;
  const init = { method: 'POST', body, duplex: 'half' } as RequestInit;
  const made = (await (await call(api, `/v1/sessions/import?${query}`, init)).json()) as Imported;
  const { blocks_imported, blocks_total, recomputed_tokens, reason } = made.import;
  const why = reason === null ? '' : `, ${recomputed_tokens} tokens computed anew: ${reason}`;
  write(`${made.id}  ${made.token_count} tokens, ${blocks_imported} of ${blocks_total} blocks from the file${why}`);
  return 0;
}

import { createWriteStream } from 'node:fs';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { downloadFile, type ListFileEntry, listFiles } from '@huggingface/hub';
import { Failure } from '../failure.ts';
import type { Progress } from '../progress.ts';
import { gitBlobId, sha256OfFile } from './digest.ts';

export interface HubAccess {
  token: string | undefined;
  /** Absent: the public hub. */
  endpoint: string | undefined;
}

export interface HubFile {
  path: string;
  bytes: number;
  /** SHA-256 of LFS files; the git id of the others. */
  sha256: string | undefined;
  gitId: string | undefined;
}

const REACH_MS = 8000;
const ATTEMPTS = 4;

const credentials = ({ token, endpoint }: HubAccess) => ({
  ...(token ? { accessToken: token } : {}),
  ...(endpoint ? { hubUrl: endpoint } : {}),
});

/** Fails within 8 seconds when the hub does not answer, so that another source can be tried. */
async function reach(input: string | URL | Request, init?: RequestInit): Promise<Response> {
  return fetch(input, { ...init, signal: AbortSignal.timeout(REACH_MS) });
}

/** Every file of a repository. Rejects when the hub cannot be reached or refuses (private repositories need HF_TOKEN). */
export async function listHubFiles(repo: string, revision: string, access: HubAccess): Promise<HubFile[]> {
  const files: HubFile[] = [];
  for await (const entry of listFiles({ repo, revision, recursive: true, fetch: reach, ...credentials(access) })) {
    if (entry.type === 'file') files.push(toHubFile(entry));
  }
  return files;
}

const toHubFile = (entry: ListFileEntry): HubFile => ({
  path: entry.path,
  bytes: entry.lfs?.size ?? entry.size,
  sha256: entry.lfs?.oid.replace(/^sha256:/, ''),
  gitId: entry.lfs ? undefined : entry.oid,
});

/**
 * Downloads one file to `target` and verifies it. A part left by an earlier run is continued, not fetched again; a broken
 * connection is retried from where it broke. Returns the file's SHA-256.
 */
export async function downloadHubFile(
  repo: string,
  revision: string,
  file: HubFile,
  target: string,
  access: HubAccess,
  progress: Progress,
): Promise<string> {
  const part = `${target}.part`;
  await mkdir(dirname(target), { recursive: true });
  for (let attempt = 1; ; attempt++) {
    try {
      await continuePart(repo, revision, file, part, access, progress);
      break;
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
      progress.note(`${file.path}: ${(error as Error).message}; trying again (${attempt} of ${ATTEMPTS - 1})`);
      await new Promise((done) => setTimeout(done, 1000 * 2 ** (attempt - 1)));
    }
  }
  const sha256 = await sha256OfFile(part);
  const wrong = file.sha256
    ? sha256 !== file.sha256
    : file.gitId !== undefined && (await gitBlobId(part)) !== file.gitId;
  if (wrong) {
    await rm(part, { force: true });
    throw new Failure(`${repo}/${file.path} does not have the checksum that the hub states: removed, pull it again`);
  }
  await rename(part, target);
  return sha256;
}

async function continuePart(
  repo: string,
  revision: string,
  file: HubFile,
  part: string,
  access: HubAccess,
  progress: Progress,
): Promise<void> {
  const have = await stat(part).then(
    (found) => found.size,
    () => 0,
  );
  if (have > file.bytes) await rm(part, { force: true });
  const start = have > file.bytes ? 0 : have;
  if (start === file.bytes && file.bytes > 0) return;
  const blob = await downloadFile({ repo, revision, path: file.path, ...credentials(access) });
  if (blob === null) throw new Failure(`${repo} has no file ${file.path}`);
  let done = start;
  const count = new Transform({
    transform(chunk: Buffer, _encoding, next) {
      done += chunk.length;
      progress.bytes(done, file.bytes);
      next(null, chunk);
    },
  });
  const body = (start === 0 ? blob : blob.slice(start, file.bytes)).stream();
  await pipeline(Readable.fromWeb(body as never), count, createWriteStream(part, { flags: start === 0 ? 'w' : 'a' }));
  if (done !== file.bytes) throw new Error(`the connection ended at ${done} of ${file.bytes} bytes`);
}

/** Which files make the model: a Hugging Face folder's, or the one GGUF. Throws a Failure that lists the choice when there are several. */
export function chooseFiles(repo: string, files: HubFile[], wanted: string | undefined): HubFile[] {
  if (wanted) {
    const file = files.find(({ path }) => path === wanted);
    if (file) return [file];
    throw new Failure(`${repo} has no file ${wanted}; it has ${files.map(({ path }) => path).join(', ')}`);
  }
  const isRoot = ({ path }: HubFile) => !path.includes('/');
  if (files.some((file) => isRoot(file) && file.path.endsWith('.safetensors'))) {
    return files.filter((file) => isRoot(file) && /\.(safetensors|json|jinja)$/.test(file.path));
  }
  const ggufs = files.filter(({ path }) => path.endsWith('.gguf'));
  if (ggufs.length === 1) return ggufs;
  if (ggufs.length === 0) throw new Failure(`${repo} has neither safetensors nor GGUF files`);
  throw new Failure(
    `${repo} has several GGUF files; choose one: ${ggufs.map(({ path }) => `${repo}:${path}`).join(', ')}`,
  );
}

/** Where a hub file lies under the model's folder. */
export const localPath = (folder: string, file: HubFile): string => join(folder, ...file.path.split('/'));

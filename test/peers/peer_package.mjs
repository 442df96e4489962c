// Peers are installed into folders of their own, never into this repository: they are large and only needed to compare.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/** Where peers go unless told otherwise: kept between runs, outside the repository. */
export function peerFolder(argument) {
  return resolve(argument ?? process.env.LONGSHORE_PEER_FOLDER ?? join(tmpdir(), 'longshore-peers'));
}

/** Installs `name` at exactly `version` into `folder` unless it is there; throws what npm says. */
export function ensurePeer(folder, name, version) {
  const manifest = join(folder, 'node_modules', name, 'package.json');
  if (existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).version === version) return;
  mkdirSync(folder, { recursive: true });
  if (!existsSync(join(folder, 'package.json'))) writeFileSync(join(folder, 'package.json'), '{"private":true}\n');
  console.error(`installing ${name}@${version} into ${folder}`);
  const arguments_ = ['install', '--no-audit', '--no-fund', '--save-exact', `${name}@${version}`];
  execFileSync('npm', arguments_, { cwd: folder, stdio: ['ignore', 2, 2] });
}

/** Imports the package that `ensurePeer` put there. */
export function importPeer(folder, name) {
  return import(pathToFileURL(createRequire(join(folder, 'package.json')).resolve(name)).href);
}

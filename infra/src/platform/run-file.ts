import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import type { ObjectStoreConfig } from '../config.ts';
import type { Home } from '../home/home.ts';

const runSchema = z.object({
  /** Of the process that supervises the platform. */
  pid: z.number().int(),
  url: z.string(),
  model: z.string(),
  databaseUrl: z.string(),
  store: z.custom<ObjectStoreConfig>((value) => typeof value === 'object' && value !== null),
  workers: z.array(z.object({ id: z.string(), url: z.string() })),
});
export type Run = z.infer<typeof runSchema>;

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

/** The platform that runs on this home, or undefined. A file whose process is gone counts as none. */
export function readRun(home: Home): Run | undefined {
  if (!existsSync(home.runFile)) return undefined;
  const parsed = runSchema.safeParse(JSON.parse(readFileSync(home.runFile, 'utf8')));
  return parsed.success && alive(parsed.data.pid) ? parsed.data : undefined;
}

export function writeRun(home: Home, run: Run): void {
  writeFileSync(home.runFile, JSON.stringify(run, null, 2), { mode: 0o600 });
}

export const removeRun = (home: Home): void => rmSync(home.runFile, { force: true });

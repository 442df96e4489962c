import { readConfig } from '../config.ts';
import { Failure } from '../failure.ts';
import { Home } from '../home/home.ts';
import { readRun } from './run-file.ts';

/** postgres:// URL of the platform's database. Throws a Failure when neither runs nor is named. */
export function runningDatabase(): string {
  const config = readConfig(process.env);
  const url = config.databaseUrl ?? readRun(new Home(config.home))?.databaseUrl;
  if (!url) throw new Failure('no database runs: start the platform (npm start), or set DATABASE_URL');
  return url;
}

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config.ts';
import { Failure } from '../failure.ts';
import { Home } from '../home/home.ts';
import type { Progress } from '../progress.ts';
import { FIXTURE, findInstalled, type InstalledModel } from './model-folder.ts';
import { pullModel } from './pull.ts';
import { REGISTRY } from './registry.ts';

/**
 * The model to serve: an installed one, else pulled. Where no source of the registered default answers, the bundled fixture (tiny,
 * random weights) keeps everything else usable, and a note says so. A model that was asked for otherwise is never replaced.
 */
export async function chooseModel(config: Config, progress: Progress): Promise<InstalledModel> {
  const { model } = config;
  if (model === FIXTURE.name) return FIXTURE;
  const installed = await findInstalled(new Home(config.home), model);
  if (installed) return installed;
  try {
    return await pullModel(config, model, progress);
  } catch (error) {
    if (!(error instanceof Failure) || !(model in REGISTRY) || !existsSync(join(FIXTURE.path, 'config.json')))
      throw error;
    progress.note(`! ${error.message}`);
    progress.note(`! starting with the bundled fixture model instead: it answers, but only nonsense`);
    return FIXTURE;
  }
}

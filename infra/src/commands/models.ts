import { readConfig } from '../config.ts';
import { Failure } from '../failure.ts';
import { Home } from '../home/home.ts';
import { listInstalled } from '../models/model-folder.ts';
import { pullModel } from '../models/pull.ts';
import { REGISTRY } from '../models/registry.ts';
import { lineProgress } from '../progress.ts';

const write = (line: string): void => void process.stdout.write(`${line}\n`);

/** `longshore models pull <name|hub repository|path>` and `longshore models list`. */
export async function models(args: string[]): Promise<number> {
  const [verb, what, ...rest] = args;
  const config = readConfig(process.env);
  if (verb === 'pull' && what !== undefined && rest.length === 0) {
    const model = await pullModel(config, what, lineProgress(write));
    write(`${model.name}: ${model.path}`);
    write(`serve it with: npm start -- --model ${model.name}`);
    return 0;
  }
  if (verb === 'list' && what === undefined) {
    const installed = await listInstalled(new Home(config.home));
    for (const { name, path, record } of installed) {
      const bytes = Object.values(record.files).reduce((sum, file) => sum + file.bytes, 0);
      write(`${name}  ${bytes > 0 ? `${(bytes / 2 ** 20).toFixed(0)} MiB  ` : ''}${record.source}  ${path}`);
    }
    const pulled = new Set(installed.map(({ name }) => name));
    for (const name of Object.keys(REGISTRY)) if (!pulled.has(name)) write(`${name}  (not pulled)`);
    return 0;
  }
  throw new Failure(
    'usage: longshore models pull <name|owner/repo[@revision][:file.gguf]|path>, or longshore models list',
  );
}

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

/** LONGSHORE_HOME: where each part keeps its files. */
export class Home {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  get models(): string {
    return join(this.folder, 'models');
  }
  get postgres(): string {
    return join(this.folder, 'postgres');
  }
  get objects(): string {
    return join(this.folder, 'objects');
  }
  /** The workers' disk tiers. */
  get tiers(): string {
    return join(this.folder, 'tiers');
  }
  get edgeState(): string {
    return join(this.folder, 'edge');
  }
  get secretsFile(): string {
    return join(this.folder, 'secrets.json');
  }
  /** Of the edge, rewritten at each start. */
  get edgeVariablesFile(): string {
    return join(this.folder, 'edge.env');
  }
  /** Which processes a running platform has; removed when it stops. */
  get runFile(): string {
    return join(this.folder, 'run.json');
  }

  log(name: string): string {
    return join(this.folder, 'logs', `${name}.log`);
  }

  /** Readable for the database's own user, who is not ours when we are root; secrets are in files of mode 0600. */
  async create(): Promise<void> {
    for (const folder of [this.folder, this.models, this.objects, this.edgeState, join(this.folder, 'logs')]) {
      await mkdir(folder, { recursive: true, mode: 0o755 });
    }
  }
}

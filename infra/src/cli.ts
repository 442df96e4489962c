import { Failure } from './failure.ts';

type Command = (args: string[]) => Promise<number>;

/** Loaded when called: `status` need not wait for what `models` imports. */
const COMMANDS: Record<string, { about: string; load: () => Promise<Command> }> = {
  start: {
    about: 'start everything: [--port N] [--workers N] [--model NAME|PATH]',
    load: async () => (await import('./commands/start.ts')).start,
  },
  status: { about: 'what runs', load: async () => (await import('./commands/status.ts')).status },
  doctor: { about: 'check everything a start needs', load: async () => (await import('./commands/doctor.ts')).doctor },
  models: {
    about: 'pull <name|owner/repo[@revision][:file.gguf]|path>, list',
    load: async () => (await import('./commands/models.ts')).models,
  },
  patterns: {
    about: "search --model NAME|PATH --text FILE [--out DIR]: a model's attention policy, measured per head",
    load: async () => (await import('./commands/patterns.ts')).patterns,
  },
  keys: {
    about:
      'create [--name TEXT] [--scopes a,b] [--models a,b] [--days N], list, revoke <id>, rotate-data <org> [--keep-chain], rewrap',
    load: async () => (await import('./commands/keys.ts')).keys,
  },
  sessions: {
    about: 'export <id> [--out FILE], import <file> [--label TEXT] [--ttl-seconds N] [--model NAME]',
    load: async () => (await import('./commands/sessions.ts')).sessions,
  },
  organizations: {
    about: 'list, quota <id> <bytes|default>, usage <id> [--days N], delete <id> --yes',
    load: async () => (await import('./commands/organizations.ts')).organizations,
  },
  bucket: {
    about: 'lifecycle rule of the object store as a backstop: [--days N]',
    load: async () => (await import('./commands/bucket.ts')).bucket,
  },
};

function help(): string {
  const lines = Object.entries(COMMANDS).map(([name, { about }]) => `  ${name.padEnd(13)} ${about}`);
  return [
    'npm run longshore -- <command>',
    ...lines,
    '  test          everything that CI runs (npm test)',
    '  demo          prefill once, kill the worker, resume on another (npm run demo) [--json]',
    '  build         build the engine',
  ].join('\n');
}

const [name = 'help', ...args] = process.argv.slice(2);
process.channel?.unref();
try {
  const command = COMMANDS[name];
  if (command) process.exitCode = await (await command.load())(args);
  else {
    process.stdout.write(`${help()}\n`);
    if (!['help', '--help', '-h'].includes(name)) throw new Failure(`no command "${name}"`);
  }
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  process.stderr.write(`longshore: ${error.message}\n`);
  process.exitCode = 1;
}
// Sockets that a killed child left half open must not keep us.
process.exit();

import { readConfig } from '../config.ts';
import { Home } from '../home/home.ts';
import { type Platform, startPlatform } from '../platform/platform.ts';
import { report } from '../processes/wait-until.ts';
import { lineProgress } from '../progress.ts';
import { parseArguments } from './arguments.ts';

const write = (line: string): void => void process.stdout.write(`${line}\n`);

/** `longshore start [--port N] [--workers N] [--model NAME|PATH]`: runs until a signal comes. */
export async function start(args: string[]): Promise<number> {
  const flags = parseArguments(args, [
    { name: 'port', type: 'string' },
    { name: 'workers', type: 'string' },
    { name: 'model', type: 'string' },
  ]);
  const config = readConfig({
    ...process.env,
    ...given('LONGSHORE_PORT', flags.text('port')),
    ...given('LONGSHORE_WORKERS', flags.text('workers')),
    ...given('LONGSHORE_MODEL', flags.text('model')),
  });

  const abort = new AbortController();
  const stopped = stopRequested(abort);
  const started = performance.now();
  write(`Longshore: starting in ${config.home}`);
  let platform: Platform;
  try {
    platform = await startPlatform({
      config,
      progress: lineProgress(write),
      signal: abort.signal,
      events: {
        failed(child, exit, retryInMs) {
          const how = exit.signal ? `was ended by ${exit.signal}` : `ended with status ${exit.status}`;
          const next =
            retryInMs === undefined ? 'giving up: restart the platform' : `starting it again in ${retryInMs / 1000} s`;
          write(report(child, `${how}; ${next}`));
        },
        restarted: (child) => write(`  ${child.spec.name}: started again`),
      },
    });
  } catch (error) {
    if (abort.signal.aborted) return 130;
    throw error;
  }
  write(welcome(platform, (performance.now() - started) / 1000, new Home(config.home)));
  const signal = await stopped;
  write(`Longshore: stopping (${signal})`);
  await platform.stop();
  write('Longshore: stopped');
  return signal === 'SIGINT' ? 130 : 0;
}

const given = (name: string, value: string | undefined) => (value === undefined ? {} : { [name]: value });

/** Resolves with the first signal, or when the process that started us is gone. */
function stopRequested(abort: AbortController): Promise<string> {
  return new Promise((resolve) => {
    const stop = (why: string) => {
      abort.abort();
      resolve(why);
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop(signal));
    process.on('disconnect', () => stop('its starter ended'));
    // An output that nobody reads any more (a closed terminal or pipe) is no reason to leave children behind.
    process.stdout.on('error', () => stop('its output was closed'));
  });
}

function welcome(platform: Platform, seconds: number, home: Home): string {
  const { url, access, model } = platform;
  const body = JSON.stringify({
    model: model.name,
    messages: [{ role: 'user', content: 'Why is the sky blue? One sentence.' }],
    max_tokens: 64,
  });
  return [
    '',
    `Longshore is ready (${seconds.toFixed(1)} s).`,
    `  API      ${url}/v1`,
    `  key      ${access.apiKey}`,
    `  model    ${model.name}`,
    `  workers  ${platform.workers.length}`,
    `  logs     ${home.log('*')}`,
    '',
    'Try it:',
    `  curl ${url}/v1/chat/completions -H 'Authorization: Bearer ${access.apiKey}' -H 'Content-Type: application/json' -d '${body}'`,
    '',
    'Ctrl-C stops everything.',
  ].join('\n');
}

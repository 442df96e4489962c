import { readConfig } from '../config.ts';
import { runCheck } from '../doctor/check.ts';
import { engineChecks } from '../doctor/engine.ts';
import { machineChecks } from '../doctor/machine.ts';
import { storeChecks } from '../doctor/stores.ts';
import { Home } from '../home/home.ts';

/** `longshore doctor`: one line for each thing that a start needs; exit code 1 when one is not right. */
export async function doctor(): Promise<number> {
  const config = readConfig(process.env);
  await new Home(config.home).create();
  let failures = 0;
  for (const check of [...machineChecks(config), ...storeChecks(config), ...engineChecks(config)]) {
    const { ok, detail, remedy } = await runCheck(check);
    if (!ok) failures++;
    process.stdout.write(`${ok ? 'ok  ' : 'FAIL'}  ${check.name.padEnd(13)} ${detail}${ok ? '' : `: ${remedy}`}\n`);
  }
  return failures === 0 ? 0 : 1;
}

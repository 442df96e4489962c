import { Failure } from '../failure.ts';
import type { Child } from './child.ts';

/**
 * Polls `ready` every 50 ms. Throws a Failure with the child's last lines when it exits first, or when `seconds` have passed.
 * Errors of `ready` mean "not yet".
 */
export async function waitUntil(child: Child, ready: () => Promise<boolean>, seconds: number): Promise<void> {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    if (!child.alive) throw new Failure(report(child, 'ended before it was ready'));
    if (await ready().catch(() => false)) return;
    if (Date.now() > deadline) throw new Failure(report(child, `was not ready after ${seconds} s`));
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** One line on what happened, then the child's last lines and where the rest is. */
export function report(child: Child, what: string): string {
  const lines = child.lastLines().map((line) => `  ${line}`);
  return [`${child.spec.name} ${what}; its log is ${child.spec.log.path}`, ...lines].join('\n');
}

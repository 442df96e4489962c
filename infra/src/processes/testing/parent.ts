import { Child } from '../child.ts';
import { LogFile } from '../log-file.ts';
import { OrphanGuard } from '../orphan-guard.ts';

/** A parent that the tests kill: starts a child that ignores polite signals and has a child of its own, and prints its group. */
const [log] = process.argv.slice(2);
const guard = new OrphanGuard();
const child = new Child(
  {
    name: 'stubborn',
    command: 'sh',
    args: ['-c', 'trap "" TERM INT; sleep 600 & wait; sleep 600'],
    env: process.env,
    log: new LogFile(log!),
  },
  guard,
);
console.log(child.group);
setInterval(() => {}, 1000);

import { createInterface } from 'node:readline';
import { groupIsAlive, signalGroup } from './process-group.ts';

/**
 * Outlives its parent to end what the parent left. Reads "add <group> <signal>" and "drop <group>" lines; when its input ends,
 * for whatever reason (SIGKILL included), every group still listed gets its signal, and SIGKILL 8 seconds later.
 */
const GRACE_MS = 8000;
const groups = new Map<number, NodeJS.Signals>();

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});

for await (const line of createInterface({ input: process.stdin })) {
  const [verb, group, signal] = line.split(' ');
  if (verb === 'add') groups.set(Number(group), signal as NodeJS.Signals);
  else groups.delete(Number(group));
}

for (const [group, signal] of groups) signalGroup(group, signal);
const deadline = Date.now() + GRACE_MS;
const alive = () => [...groups.keys()].filter(groupIsAlive);
while (alive().length > 0 && Date.now() < deadline) await new Promise((done) => setTimeout(done, 50));
for (const group of alive()) signalGroup(group, 'SIGKILL');

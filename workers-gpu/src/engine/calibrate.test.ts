import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StepItem } from '@longshore/native';
import { PrefillSpeed } from '../domain/prefill-speed.ts';
import { calibratePrefill } from './calibrate.ts';

test('measures a block at the start and one far into the context, within pool, context and batch', async () => {
  let clock = 0;
  const items: StepItem[] = [];
  // 1 ms a token, and as much again at 3,968 tokens: the clock of an engine that does nothing else.
  const engine = {
    info: { vocab: 100, contextLength: 8192 } as never,
    async step([item]: StepItem[]) {
      items.push(item!);
      clock += item!.tokens.length * (1 + item!.position / 3968);
      return [];
    },
  };
  const speed = new PrefillSpeed(5);
  await calibratePrefill(engine, 64, 512, speed, () => clock);
  assert.deepEqual(
    items.map(({ position, tokens, blockTable }) => [position, tokens.length, blockTable.length]),
    [
      [0, 128, 1],
      [0, 128, 1],
      [3968, 128, 32],
    ],
  );
  const estimate = speed.estimateMs(0, 4096);
  assert.ok(estimate > 4096 * 1.3 && estimate < 4096 * 1.7, `${estimate}`);
  items.length = 0;
  await calibratePrefill(engine, 2, 16, speed, () => clock);
  assert.deepEqual(
    items.map(({ position, tokens }) => [position, tokens.length]),
    [
      [0, 16],
      [0, 16],
      [128, 16],
    ],
  );
});

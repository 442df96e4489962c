import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HEARTBEAT_STALE_MS, type Heartbeat, type PromptInput } from '@longshore/core';
import type { PickQuery } from '../ports.ts';
import { Pool } from './pool.ts';
import { prefixChain } from './prefix-chain.ts';

const beat = (
  workerId: string,
  changes: Partial<Omit<Heartbeat, 'load'>> & { load?: Partial<Heartbeat['load']> } = {},
): Heartbeat => ({
  workerId,
  epoch: 'e1',
  pool: 'default',
  url: `http://${workerId}.test`,
  state: 'ready',
  model: { id: 'm', family: 'llama', contextLength: 8192, chat: true, createdAt: 1 },
  ...changes,
  load: {
    running: 0,
    waiting: 0,
    maxRunning: 16,
    maxWaiting: 64,
    queuedTokens: 0,
    freeBlocks: 100,
    totalBlocks: 100,
    prefillTokensPerSecond: 500,
    ...changes.load,
  },
});

const text = (value: string): PromptInput => ({ kind: 'text', text: value });
const query = (input: PromptInput, changes: Partial<PickQuery> = {}): PickQuery => ({
  model: 'm',
  ...prefixChain('org', 'm', input),
  tieBreaker: 'r',
  excluded: [],
  ...changes,
});
const pickedBy = (pool: Pool, asked: PickQuery, now: number): string => {
  const result = pool.pick(asked, now);
  assert.equal(result.outcome, 'picked');
  return result.outcome === 'picked' ? result.worker.workerId : '';
};

const LONG = 'The harbour master writes everything down. '.repeat(600);

test('sends a prompt to the worker that holds its longest prefix', () => {
  const pool = new Pool();
  for (const id of ['a', 'b', 'c']) pool.heartbeat(beat(id), 0);
  const first = pickedBy(pool, query(text(LONG)), 0);
  for (let turn = 1; turn < 6; turn++) {
    for (const id of ['a', 'b', 'c']) pool.heartbeat(beat(id), turn * 1000);
    assert.equal(
      pickedBy(pool, query(text(`${LONG} question ${turn}`), { tieBreaker: `r${turn}` }), turn * 1000),
      first,
    );
  }
});

test('keeps requests that arrive while the shared prefix is still being computed on the same worker, up to the load bound', () => {
  const pool = new Pool();
  for (const id of ['a', 'b']) pool.heartbeat(beat(id, { load: { maxRunning: 8 } }), 0);
  const counts = new Map<string, number>();
  const order: string[] = [];
  for (let index = 0; index < 12; index++) {
    const id = pickedBy(pool, query(text(`${LONG} ${index}`), { tieBreaker: `r${index}` }), 100 + index);
    counts.set(id, (counts.get(id) ?? 0) + 1);
    order.push(id);
  }
  assert.equal(order[0], order[1]);
  assert.ok(Math.max(...counts.values()) <= Math.ceil((1.25 * 12) / 2), `spread ${JSON.stringify([...counts])}`);
  assert.equal(counts.size, 2);
});

test('picks the least loaded worker for an unknown prefix', () => {
  const pool = new Pool();
  pool.heartbeat(beat('busy', { load: { running: 4, queuedTokens: 5000 } }), 0);
  pool.heartbeat(beat('idle'), 0);
  for (let index = 0; index < 5; index++)
    assert.equal(pickedBy(pool, query(text(`${index}`), { tieBreaker: `${index}` }), 0), 'idle');
});

test('spreads short prompts over equal workers', () => {
  const pool = new Pool();
  for (const id of ['a', 'b']) pool.heartbeat(beat(id), 0);
  const picks = [0, 1, 2, 3].map((index) => pickedBy(pool, query(text('hi'), { tieBreaker: `${index}` }), 0));
  assert.deepEqual(picks.sort(), ['a', 'a', 'b', 'b']);
});

test('a request that has ended is no load, even before the next heartbeat', () => {
  const pool = new Pool();
  for (const id of ['a', 'b']) pool.heartbeat(beat(id, { load: { maxRunning: 2 } }), 0);
  const ids = new Set<string>();
  for (let turn = 0; turn < 8; turn++) {
    const picked = pool.pick(query(text(LONG), { tieBreaker: `${turn}` }), 0);
    assert.ok(picked.outcome === 'picked');
    ids.add(picked.worker.workerId);
    pool.release(picked.worker);
  }
  assert.equal(ids.size, 1);
});

test('leaves the holder of a prefix when it is overloaded', () => {
  const pool = new Pool();
  for (const id of ['a', 'b']) pool.heartbeat(beat(id), 0);
  const holder = pickedBy(pool, query(text(LONG)), 0);
  const other = holder === 'a' ? 'b' : 'a';
  pool.heartbeat(beat(holder, { load: { running: 15, waiting: 5 } }), 1000);
  pool.heartbeat(beat(other), 1000);
  assert.equal(pickedBy(pool, query(text(LONG)), 1000), other);
});

test('never picks a worker whose heartbeat is stale', () => {
  const pool = new Pool();
  pool.heartbeat(beat('a'), 0);
  assert.equal(pickedBy(pool, query(text('x')), HEARTBEAT_STALE_MS), 'a');
  assert.deepEqual(pool.pick(query(text('x')), HEARTBEAT_STALE_MS + 1), { outcome: 'no_live_worker' });
  assert.equal(pool.liveWorkers(HEARTBEAT_STALE_MS + 1), 0);
});

test('never picks a draining, unhealthy, excluded or failed worker', () => {
  const pool = new Pool();
  pool.heartbeat(beat('a', { state: 'draining' }), 0);
  pool.heartbeat(beat('b', { state: 'unhealthy' }), 0);
  pool.heartbeat(beat('c'), 0);
  pool.heartbeat(beat('d'), 0);
  pool.reportFailure({ workerId: 'd', epoch: 'e1' });
  assert.equal(pickedBy(pool, query(text('x')), 0), 'c');
  const excluded = [{ workerId: 'c', epoch: 'e1' }];
  assert.deepEqual(pool.pick(query(text('x'), { excluded }), 0), { outcome: 'no_live_worker' });
  pool.heartbeat(beat('d'), 10);
  assert.equal(pickedBy(pool, query(text('x'), { excluded }), 10), 'd');
  pool.heartbeat(beat('c', { epoch: 'e2' }), 10);
  assert.equal(pickedBy(pool, query(text('x'), { excluded: [...excluded, { workerId: 'd', epoch: 'e1' }] }), 10), 'c');
});

test('a restarted worker owns nothing that its predecessor held', () => {
  const pool = new Pool();
  pool.heartbeat(beat('a'), 0);
  assert.equal(pickedBy(pool, query(text(LONG)), 0), 'a');
  pool.heartbeat(beat('a', { epoch: 'e2', load: { running: 1 } }), 10);
  pool.heartbeat(beat('b'), 10);
  assert.equal(pickedBy(pool, query(text(LONG)), 10), 'b');
});

test('follows the hint of who holds a session', () => {
  const pool = new Pool();
  for (const id of ['a', 'b', 'c']) pool.heartbeat(beat(id), 0);
  for (const holder of ['a', 'b', 'c', 'a'])
    assert.equal(pickedBy(pool, { ...query(text('')), chain: [], characters: 40_000, holder }, 0), holder);
});

test('tells an unknown model from one whose workers are gone, and judges neither before it heard of any worker', () => {
  const pool = new Pool();
  assert.deepEqual(pool.pick(query(text('x')), 0), { outcome: 'no_live_worker' });
  pool.heartbeat(beat('a'), 0);
  assert.deepEqual(pool.pick(query(text('x'), { model: 'other' }), 0), { outcome: 'unknown_model' });
  assert.deepEqual(pool.pick(query(text('x')), 60_000), { outcome: 'no_live_worker' });
  assert.deepEqual(pool.pick(query(text('x'), { model: 'other' }), 60_000), { outcome: 'unknown_model' });
});

test('prefers a worker with room over one whose queue is full, and still answers when all are full', () => {
  const pool = new Pool();
  pool.heartbeat(beat('full', { load: { running: 16, waiting: 64, prefillTokensPerSecond: 90_000 } }), 0);
  pool.heartbeat(beat('room', { load: { running: 16, waiting: 20 } }), 0);
  assert.equal(pickedBy(pool, query(text('x')), 0), 'room');
  pool.heartbeat(beat('room', { load: { running: 16, waiting: 64 } }), 0);
  assert.equal(pool.pick(query(text('x')), 0).outcome, 'picked');
});

test('lists each served model once', () => {
  const pool = new Pool();
  for (const id of ['a', 'b']) pool.heartbeat(beat(id), 0);
  assert.deepEqual(
    pool.models(0).map((model) => model.id),
    ['m'],
  );
  assert.deepEqual(pool.models(HEARTBEAT_STALE_MS + 1), []);
});

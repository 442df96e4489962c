import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bestAtCost, chooseForHead } from './choose.ts';
import type { HeadReport } from './head-measures.ts';

const report = (ns: number, error: number, recall: number): HeadReport => ({
  rows: 128,
  low: 0,
  density: ns / 100,
  scanned: 0,
  ns,
  error,
  recall,
});
const dense = report(100, 0, 1);

test('of the candidates that cost no more than the budget, the one with the least error is best', () => {
  const reports = [dense, report(20, 0.2, 0.9), report(20, 0.1, 0.8), report(60, 0.01, 0.99)];
  assert.equal(bestAtCost(reports, 0, 0.3), 2);
  assert.equal(bestAtCost(reports, 0, 0.75), 3);
  assert.equal(bestAtCost(reports, 0, 0.1), undefined);
});

test('at equal error the candidate that keeps more mass is best', () => {
  assert.equal(bestAtCost([dense, report(20, 0.1, 0.8), report(20, 0.1, 0.9)], 0, 0.3), 2);
});

test('a head takes the cheapest candidate within both limits, and is dense where none is', () => {
  const reports = [dense, report(20, 0.1, 0.95), report(60, 0.01, 0.99), report(70, 0, 0.7)];
  assert.equal(chooseForHead(reports, 0, { error: 0.1, recall: 0.9 }), 1);
  assert.equal(chooseForHead(reports, 0, { error: 0.05, recall: 0.9 }), 2);
  assert.equal(chooseForHead(reports, 0, { error: 0.001, recall: 0.9 }), 0);
});

test('a candidate slower than dense is never taken', () => {
  assert.equal(chooseForHead([dense, report(130, 0, 1)], 0, { error: 1, recall: 0 }), 0);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { areaUnderCurve, standardErrorOfNoDifference } from './auc.ts';

test('is 1 where every fast time is below every slow one, 0.5 where they are the same, 0 the other way round', () => {
  assert.equal(areaUnderCurve([1, 2, 3], [4, 5]), 1);
  assert.equal(areaUnderCurve([1, 2, 3], [1, 2, 3]), 0.5);
  assert.equal(areaUnderCurve([4, 5], [1, 2, 3]), 0);
});

test('its standard error for 400 against 400 is 0.0204', () => {
  assert.equal(standardErrorOfNoDifference(400, 400).toFixed(4), '0.0204');
});

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { svg } from './report/plot.ts';

const program = fileURLToPath(new URL('report/main.ts', import.meta.url));

function cell(n: number, policy: string, correct: number): object {
  const share = [{ at: '0.2', questions: 10, correct }];
  const counts = {
    questions: 10,
    correct,
    accuracy: correct / 10,
    kept: correct / 10,
    dense_correct: 10,
    by_depth: [...share, { ...share[0], at: '0.4' }],
  };
  const cost = { density: policy === 'dense' ? 1 : 0.125, scanned: null, contexts: 2, prefill_ms: n, ask_ms: 1 };
  return {
    bench: 'longctx',
    model: 'needle',
    task: 'kv_retrieval',
    n,
    policy,
    ...counts,
    by_turn: [{ ...share[0], at: '1' }],
    ...cost,
    numerics: 'x',
    seed: '1',
  };
}

test('the report shows every cell of the raw lines, its plots exist, and the same lines give the same bytes', () => {
  const folder = mkdtempSync(join(tmpdir(), 'longshore-report-'));
  try {
    const raw = join(folder, 'raw.jsonl');
    const lines = [
      cell(1024, 'dense', 10),
      cell(1024, 'sparse', 7),
      cell(8192, 'dense', 10),
      cell(8192, 'sparse', 9),
      { bench: 'other' },
    ];
    const timing = {
      bench: 'sparse_decode',
      model: 'needle',
      n: 65536,
      policy: 'sketch_topk',
      dense_us: 100,
      sparse_us: 8,
      bytes_ratio: 0.05,
      ratio: 12.5,
    };
    writeFileSync(raw, [...lines, timing].map((line) => JSON.stringify(line)).join('\n'));
    const write = (): string => {
      execFileSync(process.execPath, [program, folder, raw]);
      return readFileSync(join(folder, 'sparse-attention.md'), 'utf8');
    };
    const report = write();
    assert.equal(write(), report);
    for (const shown of ['70.0 % (70.0 %)', '90.0 % (90.0 %)', '12.5 %', 'sketch_topk', '12.50'])
      assert.ok(report.includes(shown), shown);
    const plots = [...report.matchAll(/\]\((\S+\.svg)\)/g)].map((match) => match[1]!);
    assert.equal(plots.length, 2);
    for (const plot of plots) assert.ok(readdirSync(folder).includes(plot), plot);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('points lie inside the axes, whatever their scale', () => {
  for (const points of [
    [
      [1024, 0.5],
      [131072, 90],
    ],
    [[1, 1]],
    [
      [0.5, 0],
      [3, 1e6],
    ],
  ] as const) {
    for (const log of [false, true]) {
      const logY = log && points.every(([, y]) => y > 0);
      const drawn = svg({
        title: 'a < b',
        x: 'x',
        y: 'y',
        series: [{ name: 's', points: [...points] }],
        logX: log,
        logY,
        joined: true,
      });
      for (const [, x, y] of drawn.matchAll(
        /<circle cx="([\d.-]+)" cy="([\d.-]+)" r="4" fill="#1f5fa8" fill-opacity/g,
      )) {
        assert.ok(Number(x) >= 69 && Number(x) <= 471 && Number(y) >= 35 && Number(y) <= 309, `${x} ${y}`);
      }
      assert.ok(drawn.includes('a &lt; b'));
    }
  }
  assert.throws(() => svg({ title: 't', x: 'x', y: 'y', series: [], joined: false }), /no points/);
});

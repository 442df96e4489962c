import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { readModelMetadata } from '@longshore/native';
import { pulledModel, repositoryFile, testModel } from '../testing/test-model.ts';
import { loadModelText } from './model-text.ts';

interface Golden {
  cases: Array<{ name: string; prompt: number[] }>;
}

const pulled = await pulledModel();
const SMOLLM2 = /smollm2/i;

if (pulled !== undefined && SMOLLM2.test(pulled)) {
  test("tokenizes SmolLM2's prompts as llama.cpp does, and back to the same text", async () => {
    const { tokenizer } = await loadModelText(pulled, await readModelMetadata(pulled));
    const golden = JSON.parse(await readFile(repositoryFile('test/golden/smollm2-greedy.json'), 'utf8')) as Golden;
    assert.ok(golden.cases.length >= 10);
    for (const { name, prompt } of golden.cases) {
      const text = await readFile(repositoryFile('test/golden/prompts', `${name}.txt`), 'utf8');
      assert.deepEqual(await tokenizer.encode(text, 'text'), prompt, name);
      assert.equal(tokenizer.decode(prompt), text, name);
    }
  });
}

test('encoding text piece by piece at control tokens gives the tokens of the whole', async () => {
  const path = await testModel();
  const { tokenizer, template } = await loadModelText(path, await readModelMetadata(path));
  assert.ok(template !== null);
  const messages = [{ role: 'user' as const, content: 'What did the keeper write? 1234\n\n\tEnd.' }];
  const head = template.render(messages, false);
  const whole = template.render([...messages, { role: 'user', content: 'And then?' }], true);
  assert.ok(whole.startsWith(head));
  const pieces = [
    ...(await tokenizer.encode(head, 'template')),
    ...(await tokenizer.encode(whole.slice(head.length), 'middle')),
  ];
  assert.deepEqual(pieces, await tokenizer.encode(whole, 'template'));
  assert.equal(tokenizer.decode(pieces), whole);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LongshoreError } from '@longshore/core';
import { ChatTemplate } from './chat-template.ts';
import { UnsupportedTokenizerError } from './unsupported.ts';

const TOKENS = { bosToken: '<s>', eosToken: '</s>' };
const CHATML =
  "{% for m in messages %}<|{{ m.role }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

test('renders messages, and the generation prompt only when asked', () => {
  const template = new ChatTemplate(CHATML, TOKENS);
  const messages = [{ role: 'user' as const, content: 'hi {{ x }}' }];
  assert.equal(template.render(messages, false), '<|user|>hi {{ x }}</s>');
  assert.equal(template.render(messages, true), '<|user|>hi {{ x }}</s><|assistant|>');
});

test('shows developer messages as system where the template knows no developer', () => {
  assert.equal(
    new ChatTemplate(CHATML, TOKENS).render([{ role: 'developer', content: 'x' }], false),
    '<|system|>x</s>',
  );
});

test('a template that refuses the messages is an invalid request with its own words', () => {
  const template = new ChatTemplate("{{ raise_exception('roles must alternate') }}", TOKENS);
  assert.throws(
    () => template.render([{ role: 'user', content: 'x' }], true),
    (error: unknown) =>
      error instanceof LongshoreError && error.code === 'invalid_request' && /roles must alternate/.test(error.message),
  );
});

test('a date in a template does not move with the clock', () => {
  const template = new ChatTemplate('{% if strftime_now is defined %}{{ strftime_now("%Y") }}{% endif %}', TOKENS);
  assert.equal(template.render([{ role: 'user', content: 'x' }], true), '26 Jul 2024');
});

test('a template that cannot be parsed is refused when the model is loaded', () => {
  assert.throws(() => new ChatTemplate('{% if %}', TOKENS), UnsupportedTokenizerError);
});

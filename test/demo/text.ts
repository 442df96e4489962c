import { readFileSync } from 'node:fs';
import type { Message } from './client.ts';

/** The Constitution of the United States with sixteen amendments: 7,535 tokens in SmolLM2's vocabulary. Public domain. */
const TEXT = readFileSync(new URL('text/constitution.md', import.meta.url), 'utf8');

/** Characters of the small run: about 1,500 tokens, so that it has stored blocks and a partial last one. */
const SMALL_CHARACTERS = 7000;

export const QUESTIONS = [
  'How old must a person be to become a Senator?',
  'Who presides when the President is tried by the Senate?',
] as const;

export const document = (small: boolean): Message[] => [
  {
    role: 'system',
    content: `Answer questions about this document in one sentence.\n\n${small ? TEXT.slice(0, SMALL_CHARACTERS) : TEXT}`,
  },
];

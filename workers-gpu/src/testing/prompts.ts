/** What the worker's tests ask. */

export const GREEDY = { sampling: { temperature: 0 } };

/** About 25 tokens. */
export const PARAGRAPH =
  'The keeper wrote the height of the tide into the book each morning, and the name of every ship that passed the light. ';

export const said = (text: string) => ({ kind: 'messages', messages: [{ role: 'user', content: text }] });

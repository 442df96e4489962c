import type { ChatMessage } from '@longshore/core';

/** What a session remembers besides its tokens. */
export interface Transcript {
  /** Raw text in front of the messages: the whole text of a session that was created from text. */
  prefixText: string;
  messages: ChatMessage[];
  /** Exactly the text that the session's stored tokens spell. */
  text: string;
}

/** A prompt as text, and the transcript it continues. */
export interface RenderedPrompt {
  prefixText: string;
  messages: ChatMessage[];
  text: string;
}

export type Render = (messages: readonly ChatMessage[], addGenerationPrompt: boolean) => string;

export const EMPTY_TRANSCRIPT: Transcript = { prefixText: '', messages: [], text: '' };

/** Appends messages to a session. `generate` adds the template's opening of the assistant's answer. */
export function appendMessages(
  transcript: Transcript,
  messages: readonly ChatMessage[],
  render: Render,
  generate: boolean,
): RenderedPrompt {
  const all = [...transcript.messages, ...messages];
  return { prefixText: transcript.prefixText, messages: all, text: transcript.prefixText + render(all, generate) };
}

/** Appends text: as a user's message where the session holds messages, else as it is. */
export function appendText(transcript: Transcript, text: string, render: Render, generate: boolean): RenderedPrompt {
  if (transcript.messages.length > 0) {
    return appendMessages(transcript, [{ role: 'user', content: text }], render, generate);
  }
  const whole = transcript.prefixText + text;
  return { prefixText: whole, messages: [], text: whole };
}

/** The part of the prompt's text that the stored tokens do not spell yet; undefined when the two texts diverge. */
export function newText(transcript: Transcript, prompt: RenderedPrompt): string | undefined {
  return prompt.text.startsWith(transcript.text) ? prompt.text.slice(transcript.text.length) : undefined;
}

/** The session after an answer. `keptText` is the text of those answer tokens that are kept as tokens. */
export function withAnswer(prompt: RenderedPrompt, answer: string, keptText: string): Transcript {
  const text = prompt.text + keptText;
  if (prompt.messages.length === 0) return { prefixText: prompt.prefixText + answer, messages: [], text };
  return {
    prefixText: prompt.prefixText,
    messages: [...prompt.messages, { role: 'assistant', content: answer }],
    text,
  };
}

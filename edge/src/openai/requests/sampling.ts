import { type Sampling, samplingSchema } from '@longshore/core';

export interface SamplingFields {
  temperature?: number | null;
  top_p?: number | null;
  top_k?: number | null;
  min_p?: number | null;
  presence_penalty?: number | null;
  frequency_penalty?: number | null;
  repetition_penalty?: number | null;
  logit_bias?: Record<string, number> | null;
  seed?: number | null;
}

/** The protocol's sampling; `logprobs` is the number of alternatives wanted per token, undefined for none at all. */
export function samplingOf(fields: SamplingFields, logprobs: number | undefined): Sampling {
  return samplingSchema.parse({
    temperature: fields.temperature ?? undefined,
    topP: fields.top_p ?? undefined,
    topK: fields.top_k ?? undefined,
    minP: fields.min_p ?? undefined,
    presencePenalty: fields.presence_penalty ?? undefined,
    frequencyPenalty: fields.frequency_penalty ?? undefined,
    repetitionPenalty: fields.repetition_penalty ?? undefined,
    logitBias: Object.entries(fields.logit_bias ?? {}).map(([id, bias]) => [Number(id), bias]),
    seed: fields.seed ?? undefined,
    logprobs: logprobs !== undefined,
    topLogprobs: logprobs ?? 0,
  });
}

/** The choice's own draw: with a seed each choice still differs, and does so again on the next call. */
export function samplingOfChoice(sampling: Sampling, choice: number): Sampling {
  if (sampling.seed === undefined || choice === 0) return sampling;
  return { ...sampling, seed: (sampling.seed + choice) % Number.MAX_SAFE_INTEGER };
}

export const stopsOf = (stop: string | string[] | null | undefined): string[] =>
  typeof stop === 'string' ? [stop] : (stop ?? []);

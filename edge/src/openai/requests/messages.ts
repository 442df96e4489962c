import { type ChatMessage, toolCallSchema } from '@longshore/core';
import { z } from 'zod';

const textPart = z.object({ type: z.literal('text', 'only text parts are supported yet'), text: z.string() });
const refusalPart = z.object({ type: z.literal('refusal'), refusal: z.string() });

const parts = z.array(z.union([textPart, refusalPart], { error: 'only text parts are supported yet' })).min(1);

const content = z.union([z.string(), parts], { error: 'must be a string or an array of text parts' });

const message = z
  .object({
    role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
    content: content.nullish(),
    name: z.string().max(256).nullish(),
    tool_calls: z.array(toolCallSchema).nullish(),
    tool_call_id: z.string().max(256).nullish(),
  })
  .refine((value) => value.content != null || (value.role === 'assistant' && value.tool_calls?.length), {
    path: ['content'],
    error: 'is required',
  });

function textOf(value: z.infer<typeof content> | null | undefined): string {
  if (typeof value === 'string') return value;
  return (value ?? []).map((part) => (part.type === 'text' ? part.text : part.refusal)).join('\n');
}

/** OpenAI's messages -> the protocol's. Several text parts become one text, a line each. */
export const messagesSchema = z
  .array(message)
  .min(1, 'must have at least one message')
  .max(4096, 'must have at most 4096 messages')
  .transform((list): ChatMessage[] =>
    list.map(({ role, content: value, name, tool_calls, tool_call_id }) => ({
      role,
      content: textOf(value),
      ...(name == null ? {} : { name }),
      ...(tool_calls == null ? {} : { toolCalls: tool_calls }),
      ...(tool_call_id == null ? {} : { toolCallId: tool_call_id }),
    })),
  );

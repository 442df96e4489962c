import { Template } from '@huggingface/jinja';
import { type ChatMessage, LongshoreError } from '@longshore/core';
import { UnsupportedTokenizerError } from './unsupported.ts';

export interface TemplateTokens {
  bosToken: string | null;
  eosToken: string | null;
}

/** Stands for today in templates that print a date: today's own would change every prompt's prefix at midnight. */
const FIXED_DATE = '26 Jul 2024';

/** A model's chat template. Rendering depends on its arguments alone. */
export class ChatTemplate {
  private readonly template: Template;
  private readonly tokens: TemplateTokens;
  /** Whether the template itself knows the "developer" role; otherwise its messages are shown as "system". */
  private readonly knowsDeveloper: boolean;

  constructor(source: string, tokens: TemplateTokens) {
    try {
      this.template = new Template(source.replaceAll('strftime_now', 'fixed_date'));
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new UnsupportedTokenizerError(`The model's chat template cannot be parsed: ${reason}`);
    }
    this.tokens = tokens;
    this.knowsDeveloper = source.includes('developer');
  }

  /** Throws LongshoreError invalid_request when the template refuses the messages. */
  render(messages: readonly ChatMessage[], addGenerationPrompt: boolean): string {
    try {
      return this.template.render({
        messages: messages.map((message) => this.messageOf(message)),
        add_generation_prompt: addGenerationPrompt,
        bos_token: this.tokens.bosToken ?? '',
        eos_token: this.tokens.eosToken ?? '',
        tools: null,
        fixed_date: () => FIXED_DATE,
      });
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new LongshoreError('invalid_request', `The model's chat template refuses these messages: ${reason}`, {
        param: 'messages',
        cause,
      });
    }
  }

  private messageOf(message: ChatMessage): Record<string, unknown> {
    const role = message.role === 'developer' && !this.knowsDeveloper ? 'system' : message.role;
    return {
      role,
      content: message.content,
      ...(message.name === undefined ? {} : { name: message.name }),
      ...(message.toolCalls === undefined ? {} : { tool_calls: message.toolCalls }),
      ...(message.toolCallId === undefined ? {} : { tool_call_id: message.toolCallId }),
    };
  }
}

import { type ChatMessage, LongshoreError } from '@longshore/core';
import type { ModelMetadata } from '@longshore/native';
import { ChatTemplate } from './chat-template.ts';
import { folderTokenizer } from './folder-tokenizer.ts';
import { ggufTokenizer } from './gguf-tokenizer.ts';
import { TextTokenizer } from './text-tokenizer.ts';
import { UnsupportedTokenizerError } from './unsupported.ts';

/** A model's text side: its tokenizer and, for chat models, its template. */
export interface ModelText {
  tokenizer: TextTokenizer;
  template: ChatTemplate | null;
}

/** `path` is the model file or folder that `metadata` was read from. Throws UnsupportedTokenizerError. */
export async function loadModelText(path: string, metadata: ModelMetadata): Promise<ModelText> {
  if (metadata.container === 'hf') {
    const { definition, bosToken, eosToken, chatTemplate } = await folderTokenizer(path);
    return {
      tokenizer: new TextTokenizer(definition),
      template: chatTemplate === null ? null : new ChatTemplate(chatTemplate, { bosToken, eosToken }),
    };
  }
  const embedded = metadata.tokenizer;
  if (embedded === null) throw new UnsupportedTokenizerError(`${path} carries no tokenizer.`);
  const tokenOf = (id: number | null) => (id === null ? null : (embedded.tokens[id] ?? null));
  return {
    tokenizer: new TextTokenizer(ggufTokenizer(embedded)),
    template:
      embedded.chatTemplate === null
        ? null
        : new ChatTemplate(embedded.chatTemplate, {
            bosToken: tokenOf(embedded.bosId),
            eosToken: tokenOf(embedded.eosId),
          }),
  };
}

/** Throws LongshoreError invalid_request for a model without a chat template. */
export function renderMessages(
  text: ModelText,
  messages: readonly ChatMessage[],
  addGenerationPrompt: boolean,
): string {
  if (text.template === null) {
    throw new LongshoreError('invalid_request', 'This model has no chat template; use /v1/completions with a prompt.', {
      param: 'messages',
    });
  }
  return text.template.render(messages, addGenerationPrompt);
}

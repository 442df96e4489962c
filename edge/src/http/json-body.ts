import { LongshoreError } from '@longshore/core';
import { jsonFault, lineAndColumn } from './domain/json-position.ts';

const MAX_BODY_BYTES = 8 * 1024 * 1024;
/** A body too large is read and thrown away up to here, so that a client still sending gets to read the answer. */
const MAX_DISCARDED_BYTES = 64 * 1024 * 1024;

function tooLarge(): LongshoreError {
  return new LongshoreError(
    'body_too_large',
    `The request body is larger than ${MAX_BODY_BYTES} bytes. Send less at once.`,
  );
}

async function discard(reader: ReadableStreamDefaultReader<Uint8Array>, already: number): Promise<void> {
  let size = already;
  while (size < MAX_DISCARDED_BYTES) {
    const { done, value } = await reader.read();
    if (done) return;
    size += value.byteLength;
  }
  await reader.cancel();
}

async function readText(request: Request): Promise<string> {
  if (request.body === null) return '';
  const reader: ReadableStreamDefaultReader<Uint8Array> = request.body.getReader();
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false });
  let text = '';
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.byteLength;
    if (size > MAX_BODY_BYTES) {
      await discard(reader, size);
      throw tooLarge();
    }
    text += decode(decoder, value);
  }
  return text + decode(decoder);
}

function decode(decoder: TextDecoder, chunk?: Uint8Array): string {
  try {
    return decoder.decode(chunk, { stream: chunk !== undefined });
  } catch (cause) {
    throw new LongshoreError('malformed_json', 'The request body is not valid UTF-8.', { cause });
  }
}

/** As readJson; a request without a body counts as an empty object. */
export async function readOptionalJson(request: Request): Promise<unknown> {
  return parse(await readText(request), true);
}

/** Throws `body_too_large` beyond 8 MiB and `malformed_json`, with the place, for anything but JSON. */
export async function readJson(request: Request): Promise<unknown> {
  return parse(await readText(request), false);
}

function parse(text: string, isOptional: boolean): unknown {
  if (isOptional && text.trim() === '') return {};
  try {
    return JSON.parse(text);
  } catch (cause) {
    if (text.trim() === '')
      throw new LongshoreError('malformed_json', 'The request body is empty; send a JSON object.');
    const index = jsonFault(text) ?? text.length;
    const { line, column } = lineAndColumn(text, index);
    throw new LongshoreError(
      'malformed_json',
      `The request body is not valid JSON: fault at position ${index} (line ${line}, column ${column}).`,
      { cause },
    );
  }
}

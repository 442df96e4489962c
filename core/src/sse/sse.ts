/** Server-sent events, the subset every LLM API uses: `event`, `data`, comments. Pure: chunks in, events out. */
export interface SseEvent {
  event?: string;
  data: string;
}

export function encodeSse(event: SseEvent): string {
  const name = event.event === undefined ? '' : `event: ${event.event}\n`;
  const data = event.data
    .split('\n')
    .map((line) => `data: ${line}\n`)
    .join('');
  return `${name}${data}\n`;
}

/** Longest event accepted before its blank line arrives. */
const MAX_EVENT_CHARACTERS = 4 * 1024 * 1024;

/** Splits a stream of text chunks, cut anywhere, into events. Throws RangeError when one event exceeds 4 MiB. */
export class SseDecoder {
  private buffer = '';
  private event: string | undefined;
  private data: string[] = [];
  private size = 0;

  push(chunk: string): SseEvent[] {
    this.buffer += chunk;
    const events: SseEvent[] = [];
    for (;;) {
      const end = this.lineEnd();
      if (end === undefined) break;
      const line = this.buffer.slice(0, end.at);
      this.buffer = this.buffer.slice(end.next);
      this.takeLine(line, events);
    }
    if (this.buffer.length + this.size > MAX_EVENT_CHARACTERS) throw new RangeError('server-sent event exceeds 4 MiB');
    return events;
  }

  /** A "\r" at the buffer's end may be half of "\r\n": it waits for the next chunk. */
  private lineEnd(): { at: number; next: number } | undefined {
    const at = this.buffer.search(/[\r\n]/);
    if (at < 0) return undefined;
    if (this.buffer[at] === '\n') return { at, next: at + 1 };
    if (at + 1 === this.buffer.length) return undefined;
    return { at, next: this.buffer[at + 1] === '\n' ? at + 2 : at + 1 };
  }

  private takeLine(line: string, events: SseEvent[]): void {
    if (line === '') {
      if (this.data.length > 0) {
        const data = this.data.join('\n');
        events.push(this.event === undefined ? { data } : { event: this.event, data });
      }
      this.event = undefined;
      this.data = [];
      this.size = 0;
      return;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const raw = colon < 0 ? '' : line.slice(colon + 1);
    const value = raw.startsWith(' ') ? raw.slice(1) : raw;
    if (field === 'data') {
      this.data.push(value);
      this.size += value.length;
    } else if (field === 'event') this.event = value;
  }
}

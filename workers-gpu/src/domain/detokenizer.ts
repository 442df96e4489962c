/** UTF-8 bytes of one token as text; undefined for tokens that never show (control tokens, unknown ids). */
export type TokenBytes = (token: number) => Uint8Array | undefined;

/**
 * Turns tokens into text deltas that never cut a character: bytes of an unfinished UTF-8 sequence wait for the next token;
 * bytes that can no longer become one are replaced by U+FFFD, like every decoder does.
 */
export class Detokenizer {
  private readonly bytesOf: TokenBytes;
  private readonly decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  private pending = 0;

  constructor(bytesOf: TokenBytes) {
    this.bytesOf = bytesOf;
  }

  /** True when no character is unfinished: the text so far is exactly the tokens so far. */
  get clean(): boolean {
    return this.pending === 0;
  }

  push(token: number): string {
    const bytes = this.bytesOf(token);
    if (bytes === undefined || bytes.length === 0) return '';
    this.trackPending(bytes);
    return this.decoder.decode(bytes, { stream: true });
  }

  /** The end: an unfinished character becomes U+FFFD. */
  flush(): string {
    this.pending = 0;
    return this.decoder.decode();
  }

  private trackPending(bytes: Uint8Array): void {
    for (const byte of bytes) {
      if (byte < 0x80) this.pending = 0;
      else if (byte >= 0xc0) this.pending = byte >= 0xf8 ? 0 : byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
      else if (this.pending > 0) this.pending--;
    }
  }
}

const ROUND_BYTES = 1024 * 1024;

/**
 * Large buffers kept for reuse. Fresh ones cost page faults and push the collector, together more than decrypting their content.
 * Holds at most `maxBytes` of idle buffers; a taken buffer that is never given back is simply collected.
 */
export class BufferPool {
  private readonly idle: Buffer[] = [];
  private idleBytes = 0;
  private readonly maxBytes: number;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  /** A view of exactly `size` bytes with any content. */
  take(size: number): Buffer {
    const fits = this.idle.findIndex((buffer) => buffer.length >= size);
    if (fits < 0) return Buffer.allocUnsafeSlow(Math.ceil(size / ROUND_BYTES) * ROUND_BYTES).subarray(0, size);
    const [buffer] = this.idle.splice(fits, 1);
    this.idleBytes -= buffer!.length;
    return buffer!.subarray(0, size);
  }

  /** The view must not be used afterwards, by anyone. */
  give(view: Buffer): void {
    const buffer = Buffer.from(view.buffer as ArrayBuffer);
    if (this.idleBytes + buffer.length > this.maxBytes) return;
    this.idle.push(buffer);
    this.idle.sort((a, b) => a.length - b.length);
    this.idleBytes += buffer.length;
  }
}

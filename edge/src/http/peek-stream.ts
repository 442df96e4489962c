/** A stream whose beginning can be looked at before it is passed on. */
export class PeekedStream {
  private readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  private seen: Uint8Array = new Uint8Array(0);

  constructor(stream: ReadableStream<Uint8Array>) {
    this.reader = stream.getReader();
  }

  /** All bytes read so far: at least `count`, or all there are. */
  async peek(count: number): Promise<Uint8Array> {
    while (this.seen.length < count) {
      const { done, value } = await this.reader.read();
      if (done) break;
      const longer = new Uint8Array(this.seen.length + value.length);
      longer.set(this.seen);
      longer.set(value, this.seen.length);
      this.seen = longer;
    }
    return this.seen;
  }

  /** The whole stream, from its first byte, piece by piece as it is asked for. */
  whole(): ReadableStream<Uint8Array> {
    const { reader, seen } = this;
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => controller.enqueue(seen),
        async pull(controller) {
          const { done, value } = await reader.read();
          if (done) controller.close();
          else controller.enqueue(value);
        },
        cancel: (reason) => reader.cancel(reason),
      },
      { highWaterMark: 0 },
    );
  }
}

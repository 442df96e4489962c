/** Items of several generators as they come, each with the index of its source; at most `width` run at once. */
export async function* merge<T>(
  sources: readonly (() => AsyncGenerator<T>)[],
  width: number,
): AsyncGenerator<{ index: number; item: T }> {
  const running = new Map<
    number,
    { generator: AsyncGenerator<T>; next: Promise<{ index: number; result: IteratorResult<T> }> }
  >();
  let started = 0;
  const advance = (index: number, generator: AsyncGenerator<T>) => {
    const next = generator.next().then((result) => ({ index, result }));
    next.catch(() => {});
    running.set(index, { generator, next });
  };
  try {
    for (;;) {
      while (running.size < width && started < sources.length) advance(started, sources[started++]!());
      if (running.size === 0) return;
      const { index, result } = await Promise.race([...running.values()].map(({ next }) => next));
      const { generator } = running.get(index)!;
      if (result.done) running.delete(index);
      else {
        advance(index, generator);
        yield { index, item: result.value };
      }
    }
  } finally {
    for (const { generator } of running.values()) generator.return(undefined).catch(() => {});
  }
}

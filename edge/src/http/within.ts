/** What `work` resolves with, or undefined when that takes longer. A rejection that comes too late is dropped. */
export async function within<T>(work: Promise<T>, milliseconds: number): Promise<T | undefined> {
  work.catch(() => {});
  const late = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => late.resolve(undefined), milliseconds);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

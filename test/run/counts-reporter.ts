import type { TestEvent } from 'node:test/reporters';

/**
 * For `node --test --test-reporter=…`: prints one line per failure with its error, and as its last line the counts as JSON. A
 * file that could not be loaded counts as a failure; a skipped or todo test does too, since nothing here may be skipped.
 */
export default async function* counts(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  let passed = 0;
  const failed = new Set<string>();
  for await (const event of source) {
    if (event.type === 'test:pass' && event.data.details.type !== 'suite') {
      if (event.data.skip === undefined && event.data.todo === undefined) passed++;
      else {
        failed.add(`${event.data.file}:${event.data.line}:${event.data.name}`);
        yield `not run: ${event.data.name} (${event.data.file}:${event.data.line})\n`;
      }
    }
    if (event.type === 'test:fail') {
      const { name, file, line, details } = event.data;
      const cause = (details.error.cause ?? details.error) as Error;
      // A failed subtest makes its parents fail too: they are not counted again.
      if ((details.error as { failureType?: string }).failureType === 'subtestsFailed') continue;
      failed.add(`${file}:${line}:${name}`);
      yield `FAILED: ${name} (${file}:${line})\n${cause.stack ?? cause}\n`;
    }
    if (event.type === 'test:stderr' || event.type === 'test:stdout') yield event.data.message;
  }
  yield `${JSON.stringify({ passed, failed: failed.size })}\n`;
}

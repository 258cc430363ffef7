import type { TestEvent } from 'node:test/reporters';

/** A reporter for test/run: one line `passed failed skipped` of the whole run, so that several runs can be added up. */
export default async function* countReporter(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  let brokenFiles = 0;
  for await (const event of source) {
    if (event.type !== 'test:summary') continue;
    // Each file has a summary, and at last the run has one, which names no file.
    const { file, counts, success } = event.data;
    if (file !== undefined) {
      if (!success) brokenFiles++;
      continue;
    }
    const left = counts.skipped + counts.todo;
    const failed = counts.tests - counts.passed - left;
    yield `${counts.passed} ${failed === 0 && brokenFiles > 0 ? brokenFiles : failed} ${left}\n`;
  }
}

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { criAnnotations } from '../api/labels.ts';
import {
  lastWordsOf,
  readTerminationMessage,
  type TerminationMessageInput,
  tailOfCriLog,
} from './termination-message.ts';

const dir = mkdtempSync(join(tmpdir(), 'termination-message-'));
after(() => rmSync(dir, { recursive: true, force: true }));

let files = 0;
const file = (text: string | Buffer): string => {
  const path = join(dir, `file-${files++}`);
  writeFileSync(path, text);
  return path;
};
const logLine = (content: string, tags = 'F') => `2026-01-01T00:00:00.000000001Z stdout ${tags} ${content}\n`;

const failing: TerminationMessageInput = {
  terminationLog: file(''),
  policy: 'FallbackToLogsOnError',
  logFile: file(logLine('one') + logLine('two')),
  exitCode: 1,
  reason: 'Error',
};
const link = join(dir, 'link');
symlinkSync('/etc/hostname', link);

const cases: Record<string, [change: Partial<TerminationMessageInput>, expected: string | RegExp]> = {
  'what was written to the file': [{ terminationLog: file('why\n') }, 'why\n'],
  'the last 4096 bytes of a long file': [
    { terminationLog: file(`${'a'.repeat(100)}${'b'.repeat(4096)}`) },
    'b'.repeat(4096),
  ],
  'a cut does not leave half a character': [{ terminationLog: file(`ä${'b'.repeat(4095)}`) }, 'b'.repeat(4095)],
  'the log where nothing was written': [{}, 'one\ntwo\n'],
  'the log where there is no file': [{ terminationLog: join(dir, 'absent') }, 'one\ntwo\n'],
  'nothing from the log on success': [{ exitCode: 0 }, ''],
  'nothing from the log with policy File': [{ policy: 'File' }, ''],
  'nothing from the log of a container that could not be run': [{ reason: 'ContainerCannotRun' }, ''],
  'nothing where there is no log': [{ logFile: join(dir, 'absent') }, ''],
  'a link is not followed, and said': [{ terminationLog: link }, /^Error on reading termination log .*link: ELOOP/],
  'a folder is said': [{ terminationLog: dir }, /not a regular file/],
  'the end of a log of a megabyte': [
    { logFile: file(Array.from({ length: 10_000 }, (_, i) => logLine(`line ${i} ${'.'.repeat(60)}`)).join('')) },
    /line 9998 \.{60}\nline 9999 \.{60}\n$/,
  ],
};

for (const [sentence, [change, expected]] of Object.entries(cases)) {
  test(sentence, async () => {
    const message = await readTerminationMessage({ ...failing, ...change });
    if (typeof expected === 'string') assert.equal(message, expected);
    else assert.match(message, expected);
    assert.ok(Buffer.byteLength(message) <= 4096);
  });
}

/** As the runtime tells of a container that failed. */
const annotated: Record<string, [path: string | undefined, policy: string, expected: string]> = {
  'the file that is mounted at its path': ['/dev/termination-log', 'File', 'why\n'],
  'also when the path was not absolute': ['dev/termination-log', 'File', 'why\n'],
  'nothing of a container without such a file': [undefined, 'File', ''],
  'the log of one without, where its policy says so': [undefined, 'FallbackToLogsOnError', 'one\ntwo\n'],
};

for (const [sentence, [path, policy, expected]] of Object.entries(annotated)) {
  test(`by what the runtime stored: ${sentence}`, async () => {
    const message = await lastWordsOf({
      annotations: {
        [criAnnotations.terminationMessagePolicy]: policy,
        ...(path ? { [criAnnotations.terminationMessagePath]: path } : {}),
      },
      mounts: [
        { containerPath: '/etc/hosts', hostPath: file('hosts') },
        { containerPath: '/dev/termination-log', hostPath: file('why\n') },
      ],
      logPath: failing.logFile,
      exitCode: 1,
    });
    assert.equal(message, expected);
  });
}

const tails: Record<string, [log: string, whole: boolean, expected: string]> = {
  'partial lines are joined': [logLine('a', 'P') + logLine('b', 'P') + logLine('c'), true, 'abc\n'],
  'tags may have more than one part': [logLine('a', 'P:x') + logLine('b', 'F:y'), true, 'ab\n'],
  'empty lines are lines': [logLine('') + logLine('x'), true, '\nx\n'],
  'only 80 lines': [
    Array.from({ length: 100 }, (_, i) => logLine(`${i}`)).join(''),
    true,
    Array.from({ length: 80 }, (_, i) => `${i + 20}\n`).join(''),
  ],
  'only 2048 bytes': [
    logLine('x'.repeat(1500)) + logLine('y'.repeat(1500)),
    true,
    `${'x'.repeat(546)}\n${'y'.repeat(1500)}\n`,
  ],
  'the beginning of a cut line is dropped': [`garbage\n${logLine('x')}`, false, 'x\n'],
  'a cut line alone is its content': ['z'.repeat(3000), false, 'z'.repeat(2048)],
  'a torn line says nothing': [`${logLine('x')}2026-01-01T00`, true, 'x\n'],
  'an empty log': ['', true, ''],
};

for (const [sentence, [log, whole, expected]] of Object.entries(tails)) {
  test(sentence, () => assert.equal(tailOfCriLog(Buffer.from(log), whole), expected));
}

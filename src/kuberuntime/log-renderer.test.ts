import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findTailOffset } from './find-tail-offset.ts';
import { type LogOptions, LogRenderer, UnknownLogFormat } from './log-renderer.ts';
import { emptyLine, parseLogLine } from './parse-log-line.ts';

const everything: LogOptions = { follow: false, timestamps: false, stream: 'All' };

/** Renders in pieces of `size` bytes, as a reader with so small a buffer would. */
function render(log: Buffer, options: Partial<LogOptions>, size = log.length + 1): string {
  const renderer = new LogRenderer({ ...everything, ...options });
  const out = Buffer.alloc(LogRenderer.room(size));
  let text = '';
  let kept = Buffer.alloc(0);
  for (let at = 0; !renderer.done; ) {
    const more = log.subarray(at, at + size - kept.length);
    at += more.length;
    const block = Buffer.concat([kept, more]);
    const full = block.length === size && !block.includes(10);
    const { used, written } = renderer.render(block, out, more.length === 0 ? 'last' : full ? 'pass on' : 'leave');
    text += out.toString('utf8', 0, written);
    kept = block.subarray(used);
    if (more.length === 0) break;
  }
  return text;
}

const second = (n: number) => `2016-10-06T00:17:${String(n).padStart(2, '0')}`;
const epoch = Date.parse(`${second(0)}Z`) / 1000;

test('the head of a line', () => {
  const good: Record<string, [string, { nanos?: number; seconds?: number; stderr?: boolean; partial?: boolean }]> = {
    'nine digits': [`${second(9)}.669794202Z stdout F words\n`, { seconds: epoch + 9, nanos: 669794202 }],
    'zeros at the end left out, as Go does': [`${second(9)}.5Z stdout F \n`, { nanos: 500_000_000 }],
    'no fraction': [`${second(9)}Z stdout F \n`, { nanos: 0 }],
    'a zone': [`${second(9)}.1+02:30 stdout F x`, { seconds: epoch + 9 - 9000 }],
    'a leap day': ['2024-02-29T00:00:00Z stderr F x', { seconds: 1709164800, stderr: true }],
    'the other stream': [`${second(0)}.1Z stderr F x`, { stderr: true }],
    'a part': [`${second(0)}.1Z stdout P x`, { partial: true }],
    'a part with more tags': [`${second(0)}.1Z stdout P:x:y x`, { partial: true }],
    'another tag': [`${second(0)}.1Z stdout Px x`, { partial: false }],
  };
  for (const [sentence, [text, expected]] of Object.entries(good)) {
    const line = emptyLine();
    const buffer = Buffer.from(`before${text}`);
    assert.ok(parseLogLine(buffer, 6, buffer.length, line), sentence);
    for (const [name, value] of Object.entries(expected)) {
      assert.equal(line[name as keyof typeof line], value, `${sentence}: ${name}`);
    }
  }
  const bad = [
    '',
    '\n',
    'garbage\n',
    `${second(0)} stdout F x\n`,
    `${second(0)}.Z stdout F x\n`,
    `${second(0)}.1234567890Z stdout F x\n`,
    `${second(0)}Z  stdout F x\n`,
    `${second(0)}Z stdin F x\n`,
    `${second(0)}Z stdout F`,
    `${second(0)}Z stdout`,
    '2016-02-30T00:17:09Z stdout F x\n',
    '2016-13-01T00:17:09Z stdout F x\n',
    '2016-10-06T24:17:09Z stdout F x\n',
    '2016-1x-06T00:17:09Z stdout F x\n',
    `${second(0)}+2:00 stdout F x\n`,
  ];
  for (const text of bad) assert.equal(parseLogLine(Buffer.from(text), 0, text.length, emptyLine()), false, text);
});

test('what of a log a reader sees', () => {
  const log = [
    `${second(1)}.1Z stdout F one\n`,
    `${second(2)}.123456789Z stderr P tw\n`,
    `${second(2)}.2Z stderr F o\n`,
    'no line at all\n',
    `${second(3)}+00:00 stdout F \n`,
    `${second(4)}Z stdout F four`,
  ].join('');
  const table: Record<string, [Partial<LogOptions>, string]> = {
    'all of it': [{}, 'one\ntwo\n\nfour'],
    'timestamps once for each of the container’s lines': [
      { timestamps: true },
      `${second(1)}.100000000Z one\n${second(2)}.123456789Z two\n${second(3)}.000000000+00:00 \n${second(4)}.000000000Z four`,
    ],
    'one stream': [{ stream: 'Stderr' }, 'two\n'],
    'the other': [{ stream: 'Stdout' }, 'one\n\nfour'],
    'from a moment on': [{ sinceSeconds: epoch + 2.2 }, 'o\n\nfour'],
    'from the future on': [{ sinceSeconds: epoch + 1e6 }, ''],
    'so many lines of the file, garbage not counted': [{ tailLines: 4 }, 'one\ntwo\n\n'],
    'followed, the tail only says where to begin': [{ tailLines: 1, follow: true }, 'one\ntwo\n\nfour'],
    'so many bytes': [{ limitBytes: 6 }, 'one\ntw'],
    'so many bytes, timestamps counted': [{ limitBytes: 33, timestamps: true }, `${second(1)}.100000000Z on`],
    'so many bytes of one stream': [{ limitBytes: 2, stream: 'Stderr' }, 'tw'],
  };
  for (const [sentence, [options, expected]] of Object.entries(table)) {
    for (const size of [1000, 60, 45])
      assert.equal(render(Buffer.from(log), options, size), expected, `${sentence} (${size})`);
  }
});

test('a log that begins with garbage is no log', () => {
  assert.throws(
    () => render(Buffer.from('{"log":"x"}\nmore\n'), {}),
    (error: unknown) =>
      error instanceof UnknownLogFormat &&
      error.message === 'failed to get parse function: unsupported log format: "{\\"log\\":\\"x\\"}\\n"',
  );
  assert.throws(() => render(Buffer.alloc(100_000, 'x'), {}, 1000), UnknownLogFormat);
});

/** A generator of numbers, so that a failure can be seen again. */
function dice(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function randomLog(roll: (below: number) => number): string {
  let log = '';
  for (let lines = roll(12); lines >= 0; lines--) {
    const fraction = ['', '.5', '.123456789', '.000000001'][roll(4)];
    const words = 'é'.repeat(roll(3)) + 'x'.repeat(roll(4) === 0 ? roll(300) : roll(12));
    const tag = ['F', 'F', 'P', 'P:more'][roll(4)];
    const line = `${second(roll(60))}${fraction}Z ${['stdout', 'stderr'][roll(2)]} ${tag} ${words}`;
    log += (log !== '' && roll(8) === 0 ? `garbage ${words}` : line) + (lines === 0 && roll(2) === 0 ? '' : '\n');
  }
  return log;
}

/** The same, without a thought for speed. */
function naive(log: string, options: LogOptions): string {
  const lines = log.match(/[^\n]*\n|[^\n]+$/g) ?? [];
  let start = 0;
  if (options.tailLines !== undefined) {
    const whole = lines.filter((l) => l.endsWith('\n')).length;
    start = Math.max(0, whole - options.tailLines);
  }
  let left = options.tailLines ?? Number.POSITIVE_INFINITY;
  let out = Buffer.alloc(0);
  let fresh = true;
  for (const line of lines.slice(start)) {
    if (left <= 0) break;
    const parts = /^(\S+?)(?:\.(\d+))?Z (stdout|stderr) (\S+) ([^\n]*\n?)$/s.exec(line);
    if (!parts) continue;
    left--;
    const [, date = '', fraction = '', stream, tag = '', rest = ''] = parts;
    const words = tag.split(':')[0] === 'P' ? rest.replace('\n', '') : rest;
    const time = Date.parse(`${date}Z`) / 1000 + Number(`0.${fraction || 0}`);
    const wanted =
      time >= (options.sinceSeconds ?? 0) && (options.stream === 'All' || options.stream.toLowerCase() === stream);
    const stamp = options.timestamps && fresh ? `${date}.${fraction.padEnd(9, '0')}Z ` : '';
    if (wanted) out = Buffer.concat([out, Buffer.from(stamp + words)]);
    fresh = words === '' || words.endsWith('\n');
  }
  return out.subarray(0, options.limitBytes ?? out.length).toString('utf8');
}

test('any log in buffers of any size is rendered as by a reader that takes its time', async () => {
  for (let seed = 1; seed <= 3000; seed++) {
    const roll = dice(seed);
    const text = randomLog(roll);
    const log = Buffer.from(text);
    const options: LogOptions = {
      follow: false,
      timestamps: roll(2) === 0,
      stream: (['All', 'All', 'Stdout', 'Stderr'] as const)[roll(4)] ?? 'All',
      ...(roll(3) === 0 ? { tailLines: roll(10) } : {}),
      ...(roll(3) === 0 ? { limitBytes: 1 + roll(200) } : {}),
      ...(roll(3) === 0 ? { sinceSeconds: epoch + roll(60) } : {}),
    };
    const read = async (buffer: Buffer, position: number) => log.copy(buffer, 0, position);
    const start = options.tailLines === undefined ? 0 : await findTailOffset(read, log.length, options.tailLines);
    const firstLine = log.subarray(start).toString('utf8');
    if (options.tailLines !== 0 && firstLine.startsWith('garbage')) {
      assert.throws(() => render(log.subarray(start), options, 50 + roll(400)), UnknownLogFormat, `seed ${seed}`);
      continue;
    }
    const expected = naive(text, options);
    const size = 50 + roll(400);
    // A character cut in two by the limit is no text: compare what whole characters there are.
    assert.equal(
      render(log.subarray(start), options, size).replace(/\ufffd+$/, ''),
      expected.replace(/\ufffd+$/, ''),
      `seed ${seed}, ${size}, ${JSON.stringify(options)}\n${text}`,
    );
  }
});

test('the tail of a log is found from its end', async () => {
  const table: Record<string, [string, number, string]> = {
    'the last line': ['a\nb\nc\n', 1, 'c\n'],
    nothing: ['a\nb\n', 0, ''],
    'nothing but what has begun': ['a\nb', 0, 'b'],
    'a line, and what has begun': ['a\nb\nc', 1, 'b\nc'],
    'more than there are': ['a\nb\n', 9, 'a\nb\n'],
    'as many as there are': ['a\nb\n', 2, 'a\nb\n'],
    'of an empty file': ['', 3, ''],
    'of empty lines': ['\n\n\n', 2, '\n\n'],
    'across blocks': [`first\n${'x'.repeat(200_000)}\nlast\n`, 2, `${'x'.repeat(200_000)}\nlast\n`],
    'at the border of blocks': [`a\n${'x'.repeat(64 * 1024 - 1)}\n`, 1, `${'x'.repeat(64 * 1024 - 1)}\n`],
  };
  for (const [sentence, [text, lines, expected]] of Object.entries(table)) {
    const log = Buffer.from(text);
    const read = async (buffer: Buffer, position: number) => log.copy(buffer, 0, position);
    const offset = await findTailOffset(read, log.length, lines);
    assert.equal(log.toString('utf8', offset), expected, sentence);
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ParsedDocument, parseYaml, type SyntaxProblem, type YamlDocument } from './yaml-source.ts';

const isDocument = (d: ParsedDocument): d is YamlDocument => 'value' in d;
const values = (text: string) => parseYaml(text).map((d) => (isDocument(d) ? d.value : d.problems));
const problems = (text: string): SyntaxProblem[] => parseYaml(text).flatMap((d) => (isDocument(d) ? [] : d.problems));
const only = (text: string): YamlDocument => {
  const first = parseYaml(text).find(isDocument);
  assert.ok(first);
  return first;
};

test('values are read as Go programs read them', () => {
  const table: Record<string, unknown> = {
    'a: yes': { a: true },
    'a: off': { a: false },
    'a: 0644': { a: 0o644 },
    'a: 10Gi': { a: '10Gi' },
    'a: 22:22': { a: '22:22' },
    'a: 2026-01-01': { a: '2026-01-01' },
    'a: 1e3': { a: 1000 },
    'a: &x {b: 1}\nc: *x': { a: { b: 1 }, c: { b: 1 } },
    'a: &x {b: 1}\nc: {<<: *x, d: 2}': { a: { b: 1 }, c: { b: 1, d: 2 } },
    '{\n\t"a": [1,\n\t\t2]\n}': { a: [1, 2] },
  };
  for (const [text, value] of Object.entries(table)) assert.deepEqual(values(text), [value], text);
});

test('empty documents are left out, and one bad document leaves the others', () => {
  assert.deepEqual(values(''), []);
  assert.deepEqual(values('# nothing\n---\n---\na: 1\n'), [{ a: 1 }]);
  const [first, second] = parseYaml('a: [1\n---\nb: 2\n');
  assert.ok(first && 'problems' in first);
  assert.ok(second && isDocument(second) && JSON.stringify(second.value) === '{"b":2}');
});

test('each mistake is named once, with line and column', () => {
  const table: Record<string, [string, number, number, RegExp][]> = {
    'a:\n\tb: 1\n': [['tab', 2, 1, /a tab is used for indentation/]],
    'a: 1\nb: 2\na: 3\nb: 4\n': [
      ['a', 3, 1, /the key "a" is given twice, first in line 1/],
      ['b', 4, 1, /the key "b" is given twice, first in line 2/],
    ],
    'a: [1, 2\nb: 3\n': [['open list', 2, 1, /sequence/]],
    'a: "x\n': [['open string', 2, 1, /quote/]],
    'a: *nope\n': [['unknown alias', 1, 1, /nope/]],
  };
  for (const [text, expected] of Object.entries(table)) {
    const found = problems(text);
    assert.deepEqual(
      found.map((p) => [p.line, p.column]),
      expected.map(([, line, column]) => [line, column]),
      text,
    );
    for (const [i, problem] of found.entries()) assert.match(problem.message, expected[i]?.[3] ?? /^$/);
  }
});

test('values that would blow up the reader are refused', () => {
  const bomb = `${'abcdefghi'.split('').reduce(
    (s, c, i) =>
      `${s}${c}: &${c} [${Array(9)
        .fill(i ? `*${'abcdefghi'[i - 1]}` : '1')
        .join(',')}]\n`,
    '',
  )}`;
  assert.match(problems(bomb)[0]?.message ?? '', /alias/i);
  assert.match(problems('['.repeat(50_000))[0]?.message ?? '', /./);
});

test('every value and key has its place', () => {
  const document = only('a:\n  - b: 1\n    c: two\nd:\ne: &x\n  f: 1\ng: *x\n');
  const table: [(string | number)[], number, number][] = [
    [['a'], 2, 3],
    [['a', 0, 'c'], 3, 8],
    [['a', 0, 'zzz'], 2, 5],
    [['a', 7], 2, 3],
    [['d'], 4, 1],
    [['g', 'f'], 6, 6],
    [[], 1, 1],
  ];
  for (const [path, line, column] of table) assert.deepEqual(document.position(path), { line, column }, path.join('.'));
  assert.deepEqual(document.keyPosition(['a', 0, 'c']), { line: 3, column: 5 });
});

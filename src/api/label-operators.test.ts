import assert from 'node:assert/strict';
import { test } from 'node:test';
import { meetsOperator } from './label-operators.ts';

test('what an operator asks of a label', () => {
  const table: readonly [operator: string, value: string | undefined, expected: boolean][] = [
    ['In', 'a', true],
    ['In', 'c', false],
    ['In', undefined, false],
    ['NotIn', 'a', false],
    ['NotIn', 'c', true],
    ['NotIn', undefined, true],
    ['Exists', '', true],
    ['Exists', undefined, false],
    ['DoesNotExist', 'a', false],
    ['DoesNotExist', undefined, true],
  ];
  for (const [operator, value, expected] of table)
    assert.equal(meetsOperator(operator, ['a', 'b'], value), expected, `${operator} ${value}`);
  assert.throws(() => meetsOperator('Near', [], 'a'), /"Near" is not a valid label selector operator/);
});

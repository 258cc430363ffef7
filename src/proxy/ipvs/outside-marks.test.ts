import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isOutsideMark, markOf, markPrefix, OutsideMarks, prefixMask } from './outside-marks.ts';

describe('a mark', () => {
  for (let bit = 0; bit < 32; bit++) {
    test(`leaves the masquerade bit ${bit} clear, and says what it is`, () => {
      const numbers = [0, 1, 2, 2 ** 13, 2 ** 14, 2 ** 14 - 1, 2 ** 22, 2 ** 23 - 1];
      const marks = numbers.map((number) => markOf(number, bit));
      assert.equal(new Set(marks).size, numbers.length);
      for (const mark of marks) {
        assert.equal((mark >>> bit) & 1, 0);
        assert.equal((mark & prefixMask) >>> 0, markPrefix(bit));
        assert.ok(isOutsideMark(mark));
      }
    });
  }
});

test('a frontend keeps its mark, and another gets it only after that', () => {
  const marks = new OutsideMarks(14);
  const first = marks.take('a', 'a,tcp:80');
  assert.equal(marks.take('a', 'a,tcp:80'), first);
  const second = marks.take('b', 'b,tcp:80');
  assert.notEqual(second, first);
  marks.release('a');
  assert.equal(marks.take('b', 'b,tcp:80'), second);
});

test('a frontend gets back the mark that the kernel has for it, and nobody else does', () => {
  const has = markOf(0, 14);
  const marks = new OutsideMarks(14, [['b,tcp:80', has]]);
  assert.notEqual(marks.take('a', 'a,tcp:80'), has);
  assert.equal(marks.take('b', 'b,tcp:80'), has);
});

test('a mark in the kernel that has the masquerade bit of now is not taken over', () => {
  const marks = new OutsideMarks(3, [['a,tcp:80', 0x4b000008]]);
  assert.notEqual(marks.take('a', 'a,tcp:80'), 0x4b000008);
});

test('two that the kernel has one mark for get two', () => {
  const has = markOf(5, 14);
  const marks = new OutsideMarks(14, [
    ['a,tcp:80', has],
    ['b,tcp:80', has],
  ]);
  assert.notEqual(marks.take('a', 'a,tcp:80'), marks.take('b', 'b,tcp:80'));
});

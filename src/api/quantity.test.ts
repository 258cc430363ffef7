import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  addQuantities,
  compareQuantities,
  formatQuantity,
  maxQuantity,
  parseQuantity,
  quantityMilliValue,
  quantityValue,
  subtractQuantities,
  tryParseQuantity,
} from './quantity.ts';

test('a quantity is printed in its canonical form, in its own family of suffixes', () => {
  const table: Record<string, string | number> = {
    '0': '0',
    '0Ki': '0',
    '1': '1',
    '1.5': '1500m',
    '0.1': '100m',
    '1000m': '1',
    '1000': '1k',
    '1500': '1500',
    '100000': '100k',
    '1024': '1024',
    '1024Ki': '1Mi',
    '1.5Gi': '1536Mi',
    '0.5Mi': '512Ki',
    '0.5Ki': '512',
    '512Ki': '512Ki',
    '1025Ki': '1025Ki',
    '0.0001Gi': '107375',
    '12e6': '12e6',
    '12E6': '12e6',
    '1e3': '1e3',
    '1200e-3': '1200e-3',
    '1000e-3': '1',
    '1E': '1E',
    '-5Mi': '-5Mi',
    '-1.5': '-1500m',
    '+2': '2',
    '.5': '500m',
    '5.': '5',
    '1n': '1n',
    '0.1n': '1n',
    '1000u': '1m',
    '9e99': '9223372036854775807',
    '1e-999': '1e-9',
    '8Ei': '9223372036854775807',
  };
  for (const [written, canonical] of Object.entries(table)) {
    assert.equal(formatQuantity(written), canonical, written);
  }
  assert.equal(formatQuantity(2), '2');
  assert.equal(formatQuantity(0.25), '250m');
});

test('what is no quantity is refused by name', () => {
  for (const bad of ['', 'x', '1x', '1 Gi', '1gi', 'Gi', '.', '1KI', '1e', '--1', '0x10', '1,5', '10%']) {
    assert.equal(tryParseQuantity(bad), undefined, bad);
  }
  assert.throws(() => parseQuantity('12 Gi'), { code: 'BadQuantity', message: '"12 Gi" is not a quantity' });
});

test('whole units and thousandths are rounded up', () => {
  assert.equal(quantityValue('1.5Gi'), 1_610_612_736);
  assert.equal(quantityValue('100m'), 1);
  assert.equal(quantityValue('-100m'), -1);
  assert.equal(quantityMilliValue('0.25'), 250);
  assert.equal(quantityMilliValue('1u'), 1);
  assert.equal(quantityMilliValue(2), 2000);
  assert.equal(quantityValue('9007199254740988Ki') > 9e18, true);
});

test('quantities are compared, added and subtracted by amount, exactly', () => {
  assert.equal(compareQuantities('1Gi', '1024Mi'), 0);
  assert.equal(compareQuantities('1G', '1Gi'), -1);
  assert.equal(compareQuantities('0.3', '300m'), 0);
  assert.equal(formatQuantity(addQuantities('0.1', '0.2')), '300m');
  assert.equal(
    formatQuantity(addQuantities('64Mi', '1G')),
    formatQuantity({ nano: 1067108864n * 10n ** 9n, format: 'BinarySI' }),
  );
  assert.equal(formatQuantity(addQuantities('0', '64Mi')), '64Mi');
  assert.equal(formatQuantity(subtractQuantities('1Gi', '256Mi')), '768Mi');
  assert.equal(formatQuantity(maxQuantity('1Gi', '1G')), '1Gi');
});

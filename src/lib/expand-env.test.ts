import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expandEnv, lookupIn } from './expand-env.ts';

const lookup = lookupIn(
  new Map([['A', '1']]),
  new Map([
    ['A', 'hidden'],
    ['B_b-.2', 'two'],
    ['EMPTY', ''],
    ['REF', '$(A)'],
  ]),
);

const cases: Record<string, [input: string, expected: string]> = {
  'plain text is left alone': ['no dollar', 'no dollar'],
  'a known name is replaced': ['$(A)', '1'],
  'the first map wins': ['x$(A)y', 'x1y'],
  'names may hold dots, dashes and digits': ['$(B_b-.2)', 'two'],
  'an empty value replaces too': ['[$(EMPTY)]', '[]'],
  'an unknown name stays as written': ['$(MISSING)', '$(MISSING)'],
  'two dollars are one and escape the reference': ['$$(A)', '$(A)'],
  'three dollars escape once and expand': ['$$$(A)', '$1'],
  'four dollars are two': ['$$$$(A)', '$$(A)'],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: shell text, on purpose
  'a shell variable is none of ours': ['$A ${A} $1', '$A ${A} $1'],
  'an unclosed parenthesis stays': ['$(A', '$(A'],
  'a reference after an unclosed one is swallowed by its name': ['$($(A)', '$($(A)'],
  'a dollar at the end stays': ['cost$', 'cost$'],
  'two dollars at the end are one': ['cost$$', 'cost$'],
  'an empty name stays': ['$()', '$()'],
  'values are not expanded again': ['$(REF)', '$(A)'],
  'the golden pod env': ['$(A)-x-$(MISSING)-$$(A)', '1-x-$(MISSING)-$(A)'],
  'line breaks are text': ['$\n$(A)\n', '$\n1\n'],
};

for (const [sentence, [input, expected]] of Object.entries(cases)) {
  test(sentence, () => assert.equal(expandEnv(input, lookup), expected));
}

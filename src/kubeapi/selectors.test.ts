import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { matchesFieldSelector, matchesLabelSelector } from './selectors.ts';

describe('label selectors', () => {
  const labels = { app: 'web', tier: 'b' };
  const cases: Record<string, boolean> = {
    '': true,
    'app=web': true,
    'app==web,tier=b': true,
    'app=db': false,
    'app!=db': true,
    'missing!=x': true,
    'tier in (a, b)': true,
    'tier in (a,c),app=web': false,
    'tier notin (a)': true,
    'missing notin (a)': true,
    app: true,
    '!app': false,
    '!missing': true,
  };
  for (const [selector, expected] of Object.entries(cases)) {
    it(`'${selector}' is ${expected}`, () => assert.equal(matchesLabelSelector(selector, labels), expected));
  }
  it('refuses what it cannot parse', () => assert.throws(() => matchesLabelSelector('a b c', labels), SyntaxError));
});

describe('field selectors', () => {
  const pod = { metadata: { name: 'p', namespace: 'n' }, spec: { nodeName: 'a' }, status: { phase: 'Running' } };
  const cases: Record<string, boolean> = {
    'spec.nodeName=a': true,
    'spec.nodeName=b': false,
    'metadata.name=p,status.phase!=Failed': true,
    'status.reason=': true,
  };
  for (const [selector, expected] of Object.entries(cases)) {
    it(`'${selector}' is ${expected}`, () => assert.equal(matchesFieldSelector(selector, pod), expected));
  }
});

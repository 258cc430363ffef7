import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { applyJsonPatch } from './json-patch.ts';
import { mergeSchemaOf } from './merge-schema.ts';
import { applyMergePatch, applyStrategicMerge, type JsonObject, PatchError } from './strategic-merge.ts';

const condition = (type: string, status = 'True') => ({ type, status });

describe('applyStrategicMerge', () => {
  const cases: Record<string, { kind?: string; original: JsonObject; patch: JsonObject; expected: unknown }> = {
    'merges conditions by type and keeps the fields the patch leaves out': {
      original: {
        status: { conditions: [{ ...condition('Ready', 'False'), reason: 'Old' }, condition('Initialized')] },
      },
      patch: { status: { conditions: [condition('Ready')] } },
      expected: { status: { conditions: [{ ...condition('Ready'), reason: 'Old' }, condition('Initialized')] } },
    },
    'appends a new element behind those of the server': {
      original: { status: { conditions: [condition('Ready')] } },
      patch: { status: { conditions: [condition('Initialized')] } },
      expected: { status: { conditions: [condition('Ready'), condition('Initialized')] } },
    },
    'deletes an element by $patch: delete': {
      original: { status: { podIPs: [{ ip: 'a' }, { ip: 'b' }] } },
      patch: { status: { podIPs: [{ $patch: 'delete', ip: 'a' }] } },
      expected: { status: { podIPs: [{ ip: 'b' }] } },
    },
    'replaces a keyed list by a $patch: replace element': {
      kind: 'Node',
      original: { status: { addresses: [{ type: 'InternalIP', address: '1' }] } },
      patch: {
        status: {
          addresses: [
            { type: 'InternalIP', address: '2' },
            { type: 'InternalIP', address: '::2' },
            { $patch: 'replace' },
          ],
        },
      },
      expected: {
        status: {
          addresses: [
            { type: 'InternalIP', address: '2' },
            { type: 'InternalIP', address: '::2' },
          ],
        },
      },
    },
    'replaces a list without merge key as a whole': {
      original: { status: { containerStatuses: [{ name: 'a' }, { name: 'b' }] } },
      patch: { status: { containerStatuses: [{ name: 'b' }] } },
      expected: { status: { containerStatuses: [{ name: 'b' }] } },
    },
    'orders the elements by $setElementOrder': {
      original: { status: { conditions: [condition('A'), condition('B')] } },
      patch: { status: { '$setElementOrder/conditions': [{ type: 'B' }, { type: 'A' }] } },
      expected: { status: { conditions: [condition('B'), condition('A')] } },
    },
    'keeps an element that only the server knows in its place': {
      original: { status: { conditions: [condition('A'), condition('Server'), condition('B')] } },
      patch: {
        status: {
          conditions: [condition('C')],
          '$setElementOrder/conditions': [{ type: 'A' }, { type: 'B' }, { type: 'C' }],
        },
      },
      expected: { status: { conditions: [condition('A'), condition('Server'), condition('B'), condition('C')] } },
    },
    'adds to and deletes from a set of plain values': {
      original: { metadata: { finalizers: ['a', 'b'] } },
      patch: { metadata: { finalizers: ['c'], '$deleteFromPrimitiveList/finalizers': ['a'] } },
      expected: { metadata: { finalizers: ['b', 'c'] } },
    },
    'drops what $retainKeys does not name': {
      original: { spec: { volumes: [{ name: 'v', emptyDir: {} }] } },
      patch: { spec: { volumes: [{ name: 'v', $retainKeys: ['name', 'hostPath'], hostPath: { path: '/x' } }] } },
      expected: { spec: { volumes: [{ name: 'v', hostPath: { path: '/x' } }] } },
    },
    'removes a field by null and a whole map by $patch: delete': {
      original: { metadata: { labels: { a: '1', b: '2' }, annotations: { x: 'y' } } },
      patch: { metadata: { labels: { a: null }, annotations: { $patch: 'delete' } } },
      expected: { metadata: { labels: { b: '2' }, annotations: {} } },
    },
    'replaces a map by $patch: replace': {
      original: { metadata: { labels: { a: '1' } } },
      patch: { metadata: { labels: { $patch: 'replace', c: '3' } } },
      expected: { metadata: { labels: { c: '3' } } },
    },
    'merges lists inside the elements of a list': {
      original: { spec: { containers: [{ name: 'c', env: [{ name: 'A', value: '1' }] }] } },
      patch: { spec: { containers: [{ name: 'c', env: [{ name: 'B', value: '2' }] }] } },
      expected: {
        spec: {
          containers: [
            {
              name: 'c',
              env: [
                { name: 'A', value: '1' },
                { name: 'B', value: '2' },
              ],
            },
          ],
        },
      },
    },
  };
  for (const [sentence, { kind, original, patch, expected }] of Object.entries(cases)) {
    it(sentence, () => {
      const before = structuredClone({ original, patch });
      assert.deepEqual(applyStrategicMerge(original, patch, mergeSchemaOf(kind ?? 'Pod')), expected);
      assert.deepEqual({ original, patch }, before, 'the inputs are unchanged');
    });
  }

  it('refuses an element without its merge key', () => {
    const apply = () => applyStrategicMerge({}, { status: { conditions: [{ status: 'True' }] } }, mergeSchemaOf('Pod'));
    assert.throws(apply, PatchError);
  });
});

describe('applyMergePatch', () => {
  it('merges objects, removes by null and replaces lists', () => {
    assert.deepEqual(applyMergePatch({ a: { b: 1, c: 2 }, l: [1, 2] }, { a: { b: null, d: 3 }, l: [9] }), {
      a: { c: 2, d: 3 },
      l: [9],
    });
  });
});

describe('applyJsonPatch', () => {
  const cases: Record<string, { operations: unknown[]; expected: unknown }> = {
    'adds into a list, at its end too': {
      operations: [
        { op: 'add', path: '/l/0', value: 0 },
        { op: 'add', path: '/l/-', value: 3 },
      ],
      expected: { l: [0, 1, 2, 3], o: { 'a/b': 1 } },
    },
    'removes and replaces with escaped names': {
      operations: [
        { op: 'remove', path: '/l/0' },
        { op: 'replace', path: '/o/a~1b', value: 2 },
      ],
      expected: { l: [2], o: { 'a/b': 2 } },
    },
    'moves, copies and tests': {
      operations: [
        { op: 'test', path: '/l', value: [1, 2] },
        { op: 'move', from: '/l', path: '/m' },
        { op: 'copy', from: '/o', path: '/p' },
      ],
      expected: { m: [1, 2], o: { 'a/b': 1 }, p: { 'a/b': 1 } },
    },
  };
  for (const [sentence, { operations, expected }] of Object.entries(cases)) {
    it(sentence, () => assert.deepEqual(applyJsonPatch({ l: [1, 2], o: { 'a/b': 1 } }, operations), expected));
  }

  it('refuses a failed test and a path that is not there', () => {
    assert.throws(() => applyJsonPatch({ a: 1 }, [{ op: 'test', path: '/a', value: 2 }]), PatchError);
    assert.throws(() => applyJsonPatch({ a: 1 }, [{ op: 'remove', path: '/b' }]), PatchError);
  });
});

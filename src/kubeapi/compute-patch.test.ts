import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { randomOf } from '../testing/random.ts';
import { computeMergePatch, computeStrategicPatch, computeStrategicStatusPatch } from './compute-patch.ts';
import { mergeSchemaOf } from './merge-schema.ts';
import { applyMergePatch, applyStrategicMerge } from './strategic-merge.ts';

describe('computeStrategicStatusPatch', () => {
  const ready = (status: string, extra = {}) => ({ type: 'Ready', status, ...extra });
  const cases: Record<string, { kind?: 'Node'; before?: object; after: object; expected: unknown }> = {
    'says nothing when nothing changed, a null or absent field included': {
      before: { phase: 'Running', conditions: [ready('True', { lastProbeTime: null })] },
      after: { phase: 'Running', conditions: [ready('True')] },
      expected: undefined,
    },
    'names only the changed fields of a changed condition': {
      before: {
        phase: 'Running',
        conditions: [ready('True', { reason: 'R' }), { type: 'Initialized', status: 'True' }],
      },
      after: {
        phase: 'Running',
        conditions: [ready('False', { reason: 'R' }), { type: 'Initialized', status: 'True' }],
      },
      expected: {
        status: {
          conditions: [{ type: 'Ready', status: 'False' }],
          '$setElementOrder/conditions': [{ type: 'Ready' }, { type: 'Initialized' }],
        },
      },
    },
    'deletes an address of the pod that is gone': {
      before: { podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }] },
      after: { podIPs: [{ ip: '10.0.0.1' }] },
      expected: {
        status: { podIPs: [{ $patch: 'delete', ip: 'fd00::1' }], '$setElementOrder/podIPs': [{ ip: '10.0.0.1' }] },
      },
    },
    'sends container statuses whole': {
      before: { containerStatuses: [{ name: 'a', ready: false }] },
      after: { containerStatuses: [{ name: 'a', ready: true }] },
      expected: { status: { containerStatuses: [{ name: 'a', ready: true }] } },
    },
    'replaces the addresses of a node, whose key repeats': {
      kind: 'Node',
      before: { addresses: [{ type: 'InternalIP', address: '1' }] },
      after: { addresses: [{ type: 'InternalIP', address: '2' }] },
      expected: { status: { addresses: [{ type: 'InternalIP', address: '2' }, { $patch: 'replace' }] } },
    },
    'sends everything to an object without status': {
      after: { phase: 'Pending' },
      expected: { status: { phase: 'Pending' } },
    },
    'clears a field that is gone': {
      before: { reason: 'Evicted', phase: 'Failed' },
      after: { phase: 'Failed' },
      expected: { status: { reason: null } },
    },
  };
  for (const [sentence, { kind, before, after, expected }] of Object.entries(cases)) {
    it(sentence, () => assert.deepEqual(computeStrategicStatusPatch(kind ?? 'Pod', before, after), expected));
  }

  it('carries the UID as a precondition', () => {
    assert.deepEqual(computeStrategicStatusPatch('Pod', {}, { phase: 'Running' }, { uid: 'u' }), {
      metadata: { uid: 'u' },
      status: { phase: 'Running' },
    });
  });
});

function shuffled<T>(list: readonly T[], below: (n: number) => number): T[] {
  const result = [...list];
  for (let i = result.length - 1; i > 0; i--) {
    const j = below(i + 1);
    const [a, b] = [result[i] as T, result[j] as T];
    result[i] = b;
    result[j] = a;
  }
  return result;
}

function randomObject(below: (n: number) => number): Record<string, unknown> {
  const some = <T>(list: readonly T[]) => shuffled(list, below).slice(0, below(list.length + 1));
  const maybe = (key: string, value: () => unknown) => (below(3) === 0 ? {} : { [key]: value() });
  const text = () => ['a', 'b', 'c'][below(3)];
  return {
    metadata: {
      ...maybe('labels', () => Object.fromEntries(some(['x', 'y', 'z']).map((key) => [key, text()]))),
      ...maybe('finalizers', () => some(['f1', 'f2', 'f3', 'f4'])),
      ...maybe('ownerReferences', () => some(['u1', 'u2']).map((uid) => ({ uid, name: text() }))),
    },
    ...maybe('spec', () => ({
      containers: some(['c1', 'c2', 'c3']).map((name) => ({
        name,
        ...maybe('image', text),
        ...maybe('env', () => some(['A', 'B', 'C']).map((key) => ({ name: key, ...maybe('value', text) }))),
        ...maybe('args', () => [text(), text()]),
      })),
    })),
    ...maybe('status', () => ({
      ...maybe('phase', text),
      ...maybe('conditions', () =>
        some(['Ready', 'Initialized', 'PodScheduled', 'x/gate']).map((type) => ({
          type,
          status: text(),
          ...maybe('reason', text),
          ...maybe('nested', () => ({ ...maybe('deep', text) })),
        })),
      ),
      ...maybe('podIPs', () => some(['1', '2', '3']).map((ip) => ({ ip }))),
      ...maybe('addresses', () => some(['1', '2', '3']).map((address) => ({ type: text(), address }))),
      ...maybe('containerStatuses', () => some(['a', 'b']).map((name) => ({ name, state: { [text() ?? '']: {} } }))),
    })),
  };
}

describe('a computed patch, applied to the state it started from, yields the state it aims at', () => {
  const below = randomOf(20260101);
  const pairs = Array.from({ length: 2000 }, () => ({ before: randomObject(below), after: randomObject(below) }));

  for (const kind of ['Pod', 'Node']) {
    it(`as strategic merge patch of a ${kind}`, () => {
      const schema = mergeSchemaOf(kind);
      for (const { before, after } of pairs) {
        const patch = computeStrategicPatch(before, after, schema);
        assert.deepEqual(
          patch ? applyStrategicMerge(before, patch, schema) : before,
          after,
          JSON.stringify({ before, patch }),
        );
      }
    });
  }

  it('as merge patch', () => {
    for (const { before, after } of pairs) {
      const patch = computeMergePatch(before, after);
      assert.deepEqual(patch ? applyMergePatch(before, patch) : before, after);
    }
  });

  it('and is absent for equal states', () => {
    for (const { before } of pairs.slice(0, 200)) {
      assert.equal(computeStrategicPatch(before, structuredClone(before), mergeSchemaOf('Pod')), undefined);
    }
  });
});

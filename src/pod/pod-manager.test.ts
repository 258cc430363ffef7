import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from '../api/core-v1.ts';
import { podUid } from '../api/ids.ts';
import { configMirrorAnnotation } from '../api/pod.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { PodManager } from './pod-manager.ts';

type Meta = Partial<Pod['metadata']>;
const pod = (over: Meta = {}): Pod =>
  deepFreeze({
    metadata: { name: 'p', namespace: 'ns', uid: 'u1', generation: 1, ...over },
    spec: { containers: [{ name: 'a', image: 'i' }] },
  });
const mirror = (uid: string, over: Meta = {}) =>
  pod({ uid, annotations: { [configMirrorAnnotation]: 'hash' }, ...over });

interface Case {
  readonly act: (manager: PodManager) => void;
  /** Every wake as 'uid change', in order. */
  readonly wakes: string[];
  /** What is desired afterwards, as 'uid source'. */
  readonly desired: string[];
  readonly mirrors?: string[];
}

/** The API tells one thing after another of 'ns/p'. */
const fromApi =
  (...objects: (Pod | undefined)[]) =>
  (manager: PodManager) => {
    for (const object of objects) manager.setFromApi('ns/p', object);
  };

const cases: Record<string, Case> = {
  'a new pod of the API is desired': {
    act: (m) => m.setFromApi('ns/p', pod()),
    wakes: ['u1 desired'],
    desired: ['u1 api'],
  },
  'the echo of our own status is no change of what is wanted': {
    act: (m) => {
      m.setFromApi('ns/p', pod());
      m.setFromApi('ns/p', deepFreeze({ ...pod({ resourceVersion: '9' }), status: { phase: 'Running' as const } }));
    },
    wakes: ['u1 desired', 'u1 status'],
    desired: ['u1 api'],
  },
  'that it is over is one, whoever says so': {
    act: fromApi(pod(), deepFreeze({ ...pod(), status: { phase: 'Failed' as const } })),
    wakes: ['u1 desired', 'u1 desired'],
    desired: ['u1 api'],
  },
  'a new generation is one': {
    act: fromApi(pod(), pod({ generation: 2 })),
    wakes: ['u1 desired', 'u1 desired'],
    desired: ['u1 api'],
  },
  'so is a label, which a volume may show': {
    act: fromApi(pod(), pod({ labels: { a: 'b' } })),
    wakes: ['u1 desired', 'u1 desired'],
    desired: ['u1 api'],
  },
  'so is a deletion, and a shorter grace period': {
    act: fromApi(
      pod(),
      pod({ deletionTimestamp: 't', deletionGracePeriodSeconds: 30 }),
      pod({ deletionTimestamp: 't', deletionGracePeriodSeconds: 1 }),
    ),
    wakes: ['u1 desired', 'u1 desired', 'u1 desired'],
    desired: ['u1 api'],
  },
  'without a generation nothing tells that only the status changed': {
    act: (m) => {
      const { generation: _, ...metadata } = pod().metadata;
      for (const resourceVersion of ['1', '2'])
        m.setFromApi('ns/p', deepFreeze({ ...pod(), metadata: { ...metadata, resourceVersion } }));
    },
    wakes: ['u1 desired', 'u1 desired'],
    desired: ['u1 api'],
  },
  'a pod that is gone from the API is not desired any more': {
    act: fromApi(pod(), undefined),
    wakes: ['u1 desired', 'u1 desired'],
    desired: [],
  },
  'a namesake replaces the pod before it': {
    act: fromApi(pod(), pod({ uid: 'u2' })),
    wakes: ['u1 desired', 'u1 desired', 'u2 desired'],
    desired: ['u2 api'],
  },
  'the manifest directory is taken as a whole': {
    act: (m) => {
      m.setFromFiles([pod(), pod({ uid: 'u2', name: 'q' })]);
      m.setFromFiles([pod({ uid: 'u2', name: 'q' }), pod({ uid: 'u3', name: 'r' })]);
    },
    wakes: ['u1 desired', 'u2 desired', 'u1 desired', 'u3 desired'],
    desired: ['u2 file', 'u3 file'],
  },
  'a manifest that keeps its UID is looked at anew when it says something else, and only then': {
    act: (m) => {
      m.setFromFiles([pod()]);
      m.setFromFiles([pod()]);
      m.setFromFiles([pod({ labels: { a: 'b' } })]);
    },
    wakes: ['u1 desired', 'u1 desired'],
    desired: ['u1 file'],
  },
  'an empty directory takes nothing from the API': {
    act: (m) => {
      m.setFromApi('ns/p', pod());
      m.setFromFiles([]);
    },
    wakes: ['u1 desired'],
    desired: ['u1 api'],
  },
  'a mirror is no pod, and tells only the status of its static pod': {
    act: (m) => {
      m.setFromFiles([pod({ uid: 's' })]);
      m.setFromApi('ns/p', mirror('m1'));
    },
    wakes: ['s desired', 's status'],
    desired: ['s file'],
    mirrors: ['m1'],
  },
  'a mirror that is replaced is told twice: as gone, and as there': {
    act: (m) => {
      m.setFromFiles([pod({ uid: 's' })]);
      for (const uid of ['m1', 'm2']) m.setFromApi('ns/p', mirror(uid));
    },
    wakes: ['s desired', 's status', 's status', 's status'],
    desired: ['s file'],
    mirrors: ['m2'],
  },
  'a mirror that is deleted leaves its static pod desired': {
    act: (m) => {
      m.setFromFiles([pod({ uid: 's' })]);
      for (const object of [mirror('m1'), undefined]) m.setFromApi('ns/p', object);
    },
    wakes: ['s desired', 's status', 's status'],
    desired: ['s file'],
    mirrors: [],
  },
};

for (const [sentence, { act, wakes, desired, mirrors = [] }] of Object.entries(cases)) {
  test(sentence, () => {
    const woken: string[] = [];
    const manager = new PodManager(
      () => 0,
      (uid, change) => woken.push(`${uid} ${change}`),
    );
    act(manager);
    assert.deepEqual(woken, wakes);
    assert.deepEqual(
      [...manager.all()].map((d) => `${d.uid} ${d.source}`),
      desired,
    );
    assert.deepEqual(
      [...manager.mirrors()].map((m) => m.uid),
      mirrors,
    );
    assert.equal(manager.size, desired.length);
  });
}

test('a static pod finds its mirror by name', () => {
  const manager = new PodManager(
    () => 0,
    () => {},
  );
  manager.setFromApi('ns/p', mirror('m1'));
  assert.equal(manager.mirrorOf(pod({ uid: 's' }))?.uid, 'm1');
  assert.equal(manager.mirrorOf(pod({ uid: 's', namespace: 'other' })), undefined);
});

test('whoever is woken reads what is new already', () => {
  const seen: unknown[] = [];
  const manager: PodManager = new PodManager(
    () => 0,
    (uid) => seen.push(manager.get(uid)?.pod.metadata.generation),
  );
  manager.setFromApi('ns/p', pod());
  manager.setFromApi('ns/p', pod({ generation: 2 }));
  manager.setFromApi('ns/p', undefined);
  assert.deepEqual(seen, [1, 2, undefined]);
});

test('a pod keeps the moment at which it was first seen', async () => {
  const clock = new FakeClock(1000);
  const manager = new PodManager(
    () => clock.now(),
    () => {},
  );
  manager.setFromApi('ns/p', pod());
  await clock.advance(500);
  manager.setFromApi('ns/p', pod({ generation: 2 }));
  assert.equal(manager.get(podUid('u1'))?.seenAt, 1000);
});

test('of several intents to end a pod the first reason and the shortest grace period count', () => {
  const manager = new PodManager(
    () => 0,
    () => {},
  );
  const uid = podUid('u1');
  manager.setFromApi('ns/p', pod());
  manager.terminate(uid, { reason: 'Evicted', message: 'memory' });
  manager.terminate(uid, { reason: 'Shutdown', message: 'down', gracePeriodSeconds: 10 });
  manager.terminate(uid, { reason: 'Shutdown', message: 'down', gracePeriodSeconds: 20 });
  const expect = { reason: 'Evicted', message: 'memory', gracePeriodSeconds: 10 };
  assert.deepEqual(manager.get(uid)?.intent, expect);
  manager.setFromApi('ns/p', pod({ generation: 2 }));
  assert.deepEqual(manager.get(uid)?.intent, expect, 'an update of the pod does not take it back');
  manager.setFromApi('ns/p', undefined);
  manager.setFromApi('ns/p', pod());
  assert.equal(manager.get(uid)?.intent, undefined);
});

test('an intent for a pod that has gone meanwhile does not wait for the next one with its UID', () => {
  const manager = new PodManager(
    () => 0,
    () => {},
  );
  const uid = podUid('u1');
  manager.setFromFiles([pod()]);
  manager.setFromFiles([]);
  manager.terminate(uid, { reason: 'Evicted', message: 'memory' });
  manager.setFromFiles([pod()]);
  assert.equal(manager.get(uid)?.intent, undefined);
});

test('of two pods with one UID the first stays what it is, and the other is left out', () => {
  const duplicates: string[] = [];
  const manager = new PodManager(
    () => 0,
    () => {},
    ({ metadata }, holder) => duplicates.push(`${metadata.name} ${holder.metadata.name}`),
  );
  manager.setFromFiles([pod({ name: 'file', uid: 'u2' })]);
  manager.setFromApi('ns/p', pod());
  manager.setFromApi('ns/other', pod({ name: 'other' }));
  manager.setFromApi('ns/third', pod({ name: 'third', uid: 'u2' }));
  manager.setFromApi('ns/other', undefined);
  assert.deepEqual(
    [...manager.all()].map((d) => `${d.uid} ${d.pod.metadata.name} ${d.source}`),
    ['u2 file file', 'u1 p api'],
  );
  assert.deepEqual(duplicates, ['other p', 'third file']);
});

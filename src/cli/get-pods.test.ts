import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AdminPod, AdminPodList } from '../admin/admin-api.ts';
import { getPods } from './get-pods.ts';
import type { GetOptions } from './program.ts';
import { whyPod } from './why-pod.ts';

const now = '2026-11-21T07:00:00Z';
const web: AdminPod = {
  ...{ namespace: 'default', name: 'web', uid: 'u1', source: 'api', phase: 'Running', status: 'Running' },
  ...{ isReady: true, ready: '1/1', restarts: 0, created: '2026-11-21T06:00:00Z', ip: '10.0.0.2' },
  containers: [
    {
      ...{ name: 'c', kind: 'regular', image: 'i', ready: true, restarts: 0, state: 'running' },
      since: '2026-11-21T06:00:05Z',
      probes: [{ type: 'liveness', verdict: 'success', since: '2026-11-21T06:00:10Z' }],
    },
  ],
};
const stuck: AdminPod = {
  ...{ namespace: 'default', name: 'a-longer-name', uid: 'u2', source: 'file', phase: 'Pending' },
  ...{ status: 'CrashLoopBackOff', isReady: false, ready: '0/2', restarts: 3, lastRestart: '2026-11-21T06:59:48Z' },
  created: '2026-11-21T06:58:30Z',
  why: {
    step: 'back-off',
    sentence: 'container c waits, CrashLoopBackOff:\n  back-off 20s',
    since: '2026-11-21T06:59:48Z',
    until: '2026-11-21T07:00:08Z',
  },
  containers: [
    {
      ...{ name: 'c', kind: 'regular', image: 'i', ready: false, restarts: 3, state: 'waiting' },
      reason: 'CrashLoopBackOff',
      probes: [
        { type: 'startup', verdict: 'none' },
        {
          ...{ type: 'readiness', verdict: 'failure', since: '2026-11-21T06:59:00Z' },
          last: { kind: 'failure', message: 'not\nyet', at: '2026-11-21T06:59:58Z' },
        },
      ],
    },
    {
      ...{ name: 'd', kind: 'regular', image: 'i', ready: false, restarts: 1, state: 'terminated' },
      ...{ reason: 'Error', exitCode: 3, since: '2026-11-21T06:59:00Z', probes: [] },
    },
  ],
};
const dns: AdminPod = { ...web, namespace: 'kube-system', name: 'dns' };
const list: AdminPodList = { now, items: [stuck, web, dns] };
const options: GetOptions = { namespace: 'default', allNamespaces: false, output: 'table', socket: '/s' };

test('the table of one namespace, aligned, with what each pod waits for', () => {
  assert.equal(
    getPods(list, options),
    `NAME            READY   STATUS             RESTARTS      AGE   WHY
a-longer-name   0/2     CrashLoopBackOff   3 (12s ago)   90s   container c waits, CrashLoopBackOff: back-off 20s, for 12s, until in 8s
web             1/1     Running            0             60m`,
  );
});

test('all namespaces, wide', () => {
  const text = getPods({ now, items: [web, dns] }, { ...options, allNamespaces: true, output: 'wide' });
  assert.equal(
    text,
    `NAMESPACE     NAME   READY   STATUS    RESTARTS   AGE   IP         SOURCE   WHY
default       web    1/1     Running   0          60m   10.0.0.2   api
kube-system   dns    1/1     Running   0          60m   10.0.0.2   api`,
  );
});

test('for programs: JSON and YAML of what the daemon answered', () => {
  const json = JSON.parse(getPods(list, { ...options, name: 'web', output: 'json' }));
  assert.deepEqual(json, { now, items: [web] });
  assert.match(
    getPods(list, { ...options, name: 'web', output: 'yaml' }),
    /^now: .*\nitems:\n {2}- namespace: default\n/,
  );
});

test('nothing to show is said, and a pod that is not here is an error', () => {
  assert.equal(getPods({ now, items: [] }, options), 'No pods run on this node.');
  const other = { ...options, namespace: 'shop' };
  const text = 'No pods of namespace shop run on this node; 3 of others do: keelson get pods -A';
  assert.equal(getPods(list, other), text);
  assert.throws(() => getPods(list, { ...other, name: 'web' }), /there is no pod web in namespace shop on this node/);
});

test('why: the sentence, then every container with its probes', () => {
  assert.equal(
    whyPod(list, 'a-longer-name'),
    `default/a-longer-name: CrashLoopBackOff
  container c waits, CrashLoopBackOff: back-off 20s, for 12s, until in 8s

  CONTAINER   KIND      STATE                                                PROBES
  c           regular   waiting (CrashLoopBackOff), 3 restarts               startup: no verdict yet; readiness: failure for 60s (failure 2s ago: not yet)
  d           regular   terminated (exit code 3, Error) for 60s, 1 restart`,
  );
});

test('why: a name is looked for in the namespace default first, then in the others', () => {
  assert.match(whyPod(list, 'web'), /^default\/web: ready\n/);
  assert.match(whyPod(list, 'dns'), /^kube-system\/dns: ready\n/);
  assert.match(whyPod(list, 'kube-system/dns'), /^kube-system\/dns: ready\n/);
  assert.throws(() => whyPod(list, 'kube-system/web'), /there is no pod kube-system\/web on this node/);
  const twice = { now, items: [dns, { ...dns, namespace: 'shop' }] };
  assert.throws(() => whyPod(twice, 'dns'), /more than one pod has the name dns: kube-system\/dns, shop\/dns/);
});

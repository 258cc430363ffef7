import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import type { Container, PodSpec } from '../src/api/core-v1.ts';
import { PODS } from './apiserver/kinds.ts';
import type { DraftObject } from './apiserver/objects.ts';
import { Cluster, containerOf, NODE } from './host/cluster.ts';
import { BUSYBOX_IMAGE, HTTPD_IMAGE } from './images/images.ts';

/** What pods are called, see and may do, looked at from inside with a real containerd. */

let cluster: Cluster;
before(async () => {
  cluster = await Cluster.boot('sandbox', { kubelet: 'allowedUnsafeSysctls: [net.core.somax*]' });
});
after(() => cluster[Symbol.asyncDispose]());

/** A container that runs the script and ends; its last words are what the script prints. */
const script = (text: string, more: Partial<Container> = {}): Container => ({
  name: 'c',
  image: BUSYBOX_IMAGE,
  command: ['sh', '-c', `{ ${text}\n} > /dev/termination-log 2>&1`],
  ...more,
});

/** What the pod's containers have printed when all have ended, by name. */
async function printed(name: string, spec: Partial<PodSpec>): Promise<Readonly<Record<string, string>>> {
  cluster.createPod(name, { restartPolicy: 'Never', ...spec });
  const { status } = await cluster.whenPod(name, ({ phase }) => phase === 'Succeeded' || phase === 'Failed');
  return Object.fromEntries(
    (status?.containerStatuses ?? []).map((s) => [s.name, s.state?.terminated?.message ?? JSON.stringify(s.state)]),
  );
}

/** The fields of /proc/<pid>/status. */
const fields = (text = ''): Readonly<Record<string, string>> =>
  Object.fromEntries(
    text
      .split('\n')
      .map((line) => line.split(/:\s*/))
      .map(([key = '', value = '']) => [key, value.trim()]),
  );

/** What was said. */
const whenEvent = async (name: string, reason: string): Promise<string> =>
  (await cluster.whenEvent(name, reason)).message;

const status = 'cat /proc/self/status';

test('users, groups, capabilities and profiles arrive in the process', async () => {
  const said = await printed('confined', {
    securityContext: { runAsUser: 1000, runAsGroup: 3000, fsGroup: 2000, supplementalGroups: [4000] },
    containers: [
      script(`${status}; touch /file`, {
        securityContext: {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] },
          seccompProfile: { type: 'RuntimeDefault' },
        },
      }),
      script(status, { name: 'own', securityContext: { runAsUser: 7, runAsGroup: 8 } }),
    ],
  });
  const confined = fields(said['c']);
  assert.deepEqual([confined['Uid'], confined['Gid']], ['1000\t1000\t1000\t1000', '3000\t3000\t3000\t3000']);
  assert.deepEqual(confined['Groups']?.split(' ').sort(), ['2000', '3000', '4000']);
  assert.equal(Number.parseInt(confined['CapBnd'] ?? '', 16), 1 << 10);
  assert.deepEqual([confined['NoNewPrivs'], confined['Seccomp']], ['1', '2']);
  assert.match(said['c'] ?? '', /touch: \/file: Read-only file system/);
  const own = fields(said['own']);
  assert.deepEqual([own['Uid'], own['Gid']], ['7\t7\t7\t7', '8\t8\t8\t8']);
  assert.deepEqual([own['NoNewPrivs'], own['Seccomp']], ['0', '0']);
});

test('a seccomp profile that this node has not is refused by name, and starts its container when it is there', async () => {
  const seccompProfile = { type: 'Localhost', localhostProfile: 'team/strict.json' } as const;
  cluster.createPod('profiled', {
    restartPolicy: 'Never',
    containers: [script(status, { securityContext: { seccompProfile } })],
  });
  const waiting = await cluster.whenPod(
    'profiled',
    (_, pod) => containerOf(pod, 'c')?.state?.waiting?.reason === 'CreateContainerError',
  );
  const { message = '' } = containerOf(waiting, 'c')?.state?.waiting ?? {};
  assert.match(message, /^cannot load seccomp profile ".*\/seccomp\/team\/strict\.json": no such file or directory/);
  assert.equal(await whenEvent('profiled', 'Failed'), `Error: ${message}`);
  const file = message.split('"')[1] ?? '';
  await cluster.host.writeFile(file, '{"defaultAction":"SCMP_ACT_ALLOW"}');
  const ended = await cluster.whenPod('profiled', ({ phase }) => phase === 'Succeeded');
  assert.equal(fields(containerOf(ended, 'c')?.state?.terminated?.message)['Seccomp'], '2');
});

test('kernel parameters that are allowed hold in the pod', async () => {
  const said = await printed('tuned', {
    securityContext: {
      sysctls: [
        { name: 'kernel/shm_rmid_forced', value: '1' },
        { name: 'net.core.somaxconn', value: '321' },
      ],
    },
    containers: [script('cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/core/somaxconn')],
  });
  assert.equal(said['c'], '1\n321\n');
});

test('others keep the pod from this node', async () => {
  cluster.createPod('untuned', {
    securityContext: { sysctls: [{ name: 'kernel.msgmax', value: '1' }] },
    containers: [script('true')],
  });
  const pod = await cluster.whenPod('untuned', ({ phase }) => phase === 'Failed');
  const message = 'forbidden sysctl: "kernel.msgmax" not allowlisted';
  assert.deepEqual([pod.status?.reason, pod.status?.message], ['SysctlForbidden', `Pod was rejected: ${message}`]);
  assert.equal(await whenEvent('untuned', 'SysctlForbidden'), message);
});

test('strict groups are refused where the runtime merges them', async () => {
  const node = JSON.parse(await cluster.kubectl('get', 'node', NODE, '-o', 'json'));
  cluster.createPod('strict', {
    securityContext: { supplementalGroupsPolicy: 'Strict' },
    containers: [script('true')],
    restartPolicy: 'Never',
  });
  const pod = await cluster.whenPod('strict', ({ phase }) => phase === 'Failed' || phase === 'Succeeded');
  const supported = node.status.features?.supplementalGroupsPolicy === true;
  assert.equal(pod.status?.reason, supported ? undefined : 'SupplementalGroupsPolicyNotSupported');
});

test('an AppArmor profile is refused where the kernel enforces none', async () => {
  const module = '/sys/module/apparmor/parameters/enabled';
  const enabled = existsSync(module) && readFileSync(module, 'utf8').startsWith('Y');
  cluster.createPod('armored', {
    securityContext: { appArmorProfile: { type: 'RuntimeDefault' } },
    containers: [script('true')],
    restartPolicy: 'Never',
  });
  const pod = await cluster.whenPod('armored', ({ phase }) => phase === 'Failed' || phase === 'Succeeded');
  assert.equal(pod.status?.reason, enabled ? undefined : 'AppArmor');
});

const names = 'hostname; cat /etc/hosts /etc/resolv.conf';

test('a pod knows its full name, its hosts and its resolver', async () => {
  const said = await printed('named', {
    hostname: 'web',
    subdomain: 'sub',
    setHostnameAsFQDN: true,
    hostAliases: [{ ip: '203.0.113.9', hostnames: ['legacy', 'legacy.test'] }],
    dnsConfig: { nameservers: ['10.0.0.53'], searches: ['mine.test'], options: [{ name: 'ndots', value: '2' }] },
    containers: [script(names)],
  });
  const lines = said['c']?.split('\n') ?? [];
  const ip = cluster.pod('named')?.status?.podIP;
  assert.equal(lines[0], 'web.sub.default.svc.cluster.local');
  assert.ok(lines.includes(`${ip}\tweb.sub.default.svc.cluster.local\tweb`), said['c']);
  assert.ok(lines.includes('203.0.113.9\tlegacy\tlegacy.test'));
  assert.ok(lines.includes('nameserver 10.96.0.10') && lines.includes('nameserver 10.0.0.53'));
  const searches = 'default.svc.cluster.local svc.cluster.local cluster.local test mine.test';
  assert.ok(lines.includes(`search ${searches}`) && lines.includes('options ndots:2'), said['c']);
});

test('a name may be given from outside the pod altogether', async () => {
  const said = await printed('overridden', { hostnameOverride: 'me.example.com', containers: [script('hostname')] });
  assert.equal(said['c'], 'me.example.com\n');
});

test('a full name that is too long for the kernel keeps the pod from starting', async () => {
  cluster.createPod('long', {
    subdomain: 's'.repeat(60),
    setHostnameAsFQDN: true,
    containers: [script('true')],
  });
  const text = await whenEvent('long', 'FailedCreatePodSandBox');
  assert.match(text, /^Failed to create pod sandbox: failed to construct FQDN from pod hostname and cluster domain/);
});

test("a pod on the host's network has the host's name and resolver", async () => {
  const said = await printed('on-host', {
    hostNetwork: true,
    hostAliases: [{ ip: '203.0.113.9', hostnames: ['legacy'] }],
    containers: [script(names)],
  });
  const [hostname, ...lines] = said['c']?.split('\n') ?? [];
  assert.equal(hostname, (await cluster.host.exec('hostname')).trim());
  assert.equal(lines[0], '# Kubernetes-managed hosts file (host network).');
  assert.ok(lines.includes('203.0.113.9\tlegacy'));
  assert.ok(lines.includes('nameserver 127.0.0.1') && lines.includes('search test'), said['c']);
});

test('processes are seen by others of the pod, or of the host, only where they are shared', async () => {
  const sleeper = (seconds: string): Container => ({
    name: 'c',
    image: BUSYBOX_IMAGE,
    command: ['sleep', seconds],
  });
  const looker = { ...sleeper('22222'), name: 'looker' };
  cluster.createPod('sharing', { shareProcessNamespace: true, containers: [sleeper('11111'), looker] });
  cluster.createPod('alone', { containers: [sleeper('33333'), looker] });
  cluster.createPod('host-pid', { hostPID: true, containers: [looker] });
  /** What the pod's looker sees. */
  const seen = async (name: string): Promise<string> => {
    const { metadata } = await cluster.whenPodReady(name);
    const { runtime } = cluster.host.cri();
    const signal = AbortSignal.timeout(20_000);
    const labelSelector = {
      'io.kubernetes.pod.uid': metadata.uid ?? '',
      'io.kubernetes.container.name': 'looker',
    };
    const [container] = await runtime.listContainers({ labelSelector }, signal);
    return `${(await runtime.execSync(container?.id ?? '', ['ps'], 5, signal)).stdout}`;
  };
  await Promise.all(['sharing', 'alone', 'host-pid'].map((name) => cluster.whenPodReady(name)));
  assert.match(await seen('sharing'), /sleep 11111/);
  assert.doesNotMatch(await seen('alone'), /sleep [13]{5}/);
  assert.match(await seen('host-pid'), /sleep 11111.*sleep 33333|sleep 33333.*sleep 11111/s);
});

test('a port of the host leads to the pod, from the host and from others', async () => {
  cluster.createPod('served', {
    hostname: 'served',
    containers: [{ name: 'c', image: HTTPD_IMAGE, ports: [{ containerPort: 8080, hostPort: 18080 }] }],
  });
  await cluster.whenPodReady('served');
  const { nodeIp } = cluster.host;
  assert.equal(await cluster.host.get(`http://${nodeIp}:18080/`), 'served\n');
  const get = `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 10 ${nodeIp} 18080`;
  const said = await printed('visitor', { containers: [script(get)] });
  assert.match(said['c'] ?? '', /\r\n\r\nserved\n$/);
});

test('a pod waits for its RuntimeClass, and runs under its handler', async () => {
  // Created past admission, which would refuse a class that is not there.
  cluster.createPod('classed', {
    runtimeClassName: 'sandboxed',
    restartPolicy: 'Never',
    containers: [script('echo in')],
  });
  const text = await whenEvent('classed', 'FailedCreatePodSandBox');
  assert.match(text, /^Failed to create pod sandbox: runtimeclass\.node\.k8s\.io "sandboxed" not found/);
  const runtimeClass = {
    apiVersion: 'node.k8s.io/v1',
    kind: 'RuntimeClass',
    metadata: { name: 'sandboxed' },
    handler: 'other',
  };
  cluster.api.create(runtimeClass as unknown as DraftObject);
  const pod = await cluster.whenPod('classed', ({ phase }) => phase === 'Succeeded');
  assert.equal(containerOf(pod, 'c')?.state?.terminated?.message, 'in\n');
  const labelSelector = { 'io.kubernetes.pod.uid': pod.metadata.uid ?? '' };
  const [sandbox] = await cluster.host.cri().runtime.listPodSandbox({ labelSelector }, AbortSignal.timeout(20_000));
  assert.equal(sandbox?.runtimeHandler, 'other');
});

test("a handler that the runtime has not is said in the runtime's words", async () => {
  const runtimeClass = {
    apiVersion: 'node.k8s.io/v1',
    kind: 'RuntimeClass',
    metadata: { name: 'odd' },
    handler: 'nobody',
  };
  cluster.api.create(runtimeClass as unknown as DraftObject);
  cluster.createPod('odd', { runtimeClassName: 'odd', containers: [script('true')] });
  assert.match(await whenEvent('odd', 'FailedCreatePodSandBox'), /no runtime for "nobody" is configured/);
  assert.ok(cluster.api.store.get(PODS, 'default', 'odd'));
});

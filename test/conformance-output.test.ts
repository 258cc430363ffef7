import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { Container, Pod, PodSpec, VolumeMount } from '../src/api/core-v1.ts';
import { buildImage } from '../src/lib/oci-image.ts';
import { NODES } from './apiserver/kinds.ts';
import type { DraftObject } from './apiserver/objects.ts';
import { Cluster, NODE } from './host/cluster.ts';
import { BUSYBOX_IMAGE, busyboxFilesWith, busyboxImage, httpdImage } from './images/images.ts';

/**
 * What conformance asks of containers that look around, print what they see and end: each pod's output
 * is compared line by line.
 */

const ECHO_IMAGE = 'registry.test/echo:1';
const NOBODY_IMAGE = 'registry.test/nobody:1';
const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
const files = busyboxFilesWith(['sh', 'echo', 'id']);
const images = [
  busyboxImage(),
  httpdImage(),
  buildImage({ name: ECHO_IMAGE, architecture, files, entrypoint: ['/bin/echo', 'entry'], cmd: ['from', 'image'] }),
  buildImage({ name: NOBODY_IMAGE, architecture, files, cmd: ['/bin/sh', '-c', 'id -u'], user: '65534' }),
];

/** A container that runs the script and ends. */
const sh = (script: string, more: Partial<Container> = {}): Container => ({
  name: 'c',
  image: BUSYBOX_IMAGE,
  command: ['sh', '-c', script],
  ...more,
});
const mount = (name: string, more: Partial<VolumeMount> = {}): Partial<Container> => ({
  volumeMounts: [{ name, mountPath: '/v', ...more }],
});
const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });
const amount = (name: string, resource: string, divisor?: string) => ({
  name,
  valueFrom: { resourceFieldRef: { resource, ...(divisor ? { divisor } : {}) } },
});
const amountFile = (path: string, resource: string, divisor?: string) => ({
  path,
  resourceFieldRef: { containerName: 'c', resource, ...(divisor ? { divisor } : {}) },
});

interface Case {
  readonly spec: Partial<PodSpec> & Pick<PodSpec, 'containers'>;
  readonly metadata?: Partial<Pod['metadata']>;
  /** The lines that container `c` prints, of both streams. */
  readonly prints: readonly (string | RegExp)[] | ((pod: Pod) => readonly (string | RegExp)[]);
  readonly fails?: true;
}

const asUser = (uid: number): Partial<PodSpec> => ({ securityContext: { runAsUser: uid } });
const inGroup = (fsGroup: number, uid = 1000): Partial<PodSpec> => ({ securityContext: { runAsUser: uid, fsGroup } });
const memory = { name: 'v', emptyDir: { medium: 'Memory' } };
const disk = { name: 'v', emptyDir: {} };
const config = { name: 'v', configMap: { name: 'things' } };
/** Makes a file of this mode as whoever runs it, and shows it. */
const makeFile = (mode: string): string =>
  `echo -n hello > /v/f; chmod ${mode} /v/f; stat -c '%a %u %g' /v/f; stat -c %a /v; cat /v/f; echo`;
const show = (path: string): string => `stat -L -c '%a %g' ${path}`;

const environment: Record<string, Case> = {
  'variables are made of others': {
    spec: {
      containers: [
        sh('echo "$BOTH"', {
          env: [
            { name: 'FOO', value: 'foo' },
            { name: 'BAR', value: 'bar' },
            { name: 'BOTH', value: '$(FOO);;$(BAR)' },
          ],
        }),
      ],
    },
    prints: ['foo;;bar'],
  },
  'variables are put into the command, before a shell sees it': {
    spec: { containers: [sh('A=wrong; echo "$(A)"', { env: [{ name: 'A', value: 'right' }] })] },
    prints: ['right'],
  },
  'and into its arguments': {
    spec: {
      containers: [
        sh('', { command: ['sh', '-c'], args: ['A=wrong; echo "$(A)"'], env: [{ name: 'A', value: 'right' }] }),
      ],
    },
    prints: ['right'],
  },
  "the image's own command": {
    spec: { containers: [{ name: 'c', image: ECHO_IMAGE }] },
    prints: ['entry from image'],
  },
  'other arguments for it': {
    spec: { containers: [{ name: 'c', image: ECHO_IMAGE, args: ['from', 'pod'] }] },
    prints: ['entry from pod'],
  },
  "another command goes without the image's arguments": {
    spec: { containers: [{ name: 'c', image: ECHO_IMAGE, command: ['/bin/echo', 'mine'] }] },
    prints: ['mine'],
  },
  both: {
    spec: { containers: [{ name: 'c', image: ECHO_IMAGE, command: ['/bin/echo', 'mine'], args: ['too'] }] },
    prints: ['mine too'],
  },
  'a pod knows itself and its node': {
    spec: {
      containers: [
        sh('echo $NAME $SPACE $ID; echo $IP $HOST $NODE; echo $ACCOUNT', {
          env: [
            field('NAME', 'metadata.name'),
            field('SPACE', 'metadata.namespace'),
            field('ID', 'metadata.uid'),
            field('IP', 'status.podIP'),
            field('HOST', 'status.hostIP'),
            field('NODE', 'spec.nodeName'),
            field('ACCOUNT', 'spec.serviceAccountName'),
          ],
        }),
      ],
    },
    prints: ({ metadata, status }) => [
      `${metadata.name} default ${metadata.uid}`,
      `${status?.podIP} ${cluster.host.nodeIp} ${NODE}`,
      'default',
    ],
  },
  "the host's network has the host's address": {
    spec: {
      hostNetwork: true,
      containers: [sh('echo $IP $HOST', { env: [field('IP', 'status.podIP'), field('HOST', 'status.hostIP')] })],
    },
    prints: () => [`${cluster.host.nodeIp} ${cluster.host.nodeIp}`],
  },
  'a container knows its requests and limits': {
    spec: {
      containers: [
        sh('echo $CPU $CPU_M $MEM $REQ_CPU $REQ_MEM', {
          resources: { requests: { cpu: '250m', memory: '32Mi' }, limits: { cpu: '1250m', memory: '64Mi' } },
          env: [
            amount('CPU', 'limits.cpu'),
            amount('CPU_M', 'limits.cpu', '1m'),
            amount('MEM', 'limits.memory'),
            amount('REQ_CPU', 'requests.cpu', '1m'),
            amount('REQ_MEM', 'requests.memory', '1Mi'),
          ],
        }),
      ],
    },
    prints: [`2 1250 ${64 << 20} 250 32`],
  },
  'without limits it is told what the node has to give': {
    spec: {
      containers: [sh('echo $CPU $MEM', { env: [amount('CPU', 'limits.cpu'), amount('MEM', 'limits.memory', '1Ki')] })],
    },
    prints: () => {
      const { allocatable } = allocatableOfNode();
      return [`${allocatable['cpu']} ${allocatable['memory']?.replace(/Ki$/, '')}`];
    },
  },
  'ConfigMaps and Secrets as variables, one by one and as a whole': {
    spec: {
      containers: [
        sh('echo $ONE $TWO; tr "\\0" "\\n" < /proc/1/environ | grep -E "^(p_|data-)" | sort', {
          env: [
            { name: 'ONE', valueFrom: { configMapKeyRef: { name: 'things', key: 'data-1' } } },
            { name: 'TWO', valueFrom: { secretKeyRef: { name: 'hidden', key: 'data-1' } } },
          ],
          envFrom: [{ configMapRef: { name: 'things' } }, { prefix: 'p_', secretRef: { name: 'hidden' } }],
        }),
      ],
    },
    prints: ['value-1 secret-1', 'data-1=value-1', 'data-2=value-2', 'p_data-1=secret-1'],
  },
  'the Services that were there first': {
    spec: { containers: [sh('env | grep ^FOOSERVICE | sort')] },
    prints: [
      'FOOSERVICE_PORT=tcp://10.96.7.8:8765',
      'FOOSERVICE_PORT_8765_TCP=tcp://10.96.7.8:8765',
      'FOOSERVICE_PORT_8765_TCP_ADDR=10.96.7.8',
      'FOOSERVICE_PORT_8765_TCP_PORT=8765',
      'FOOSERVICE_PORT_8765_TCP_PROTO=tcp',
      'FOOSERVICE_SERVICE_HOST=10.96.7.8',
      'FOOSERVICE_SERVICE_PORT=8765',
    ],
  },
  'but none where they are not wanted': {
    spec: { enableServiceLinks: false, containers: [sh('env | grep ^FOOSERVICE || echo none')] },
    prints: ['none'],
  },
};

const security: Record<string, Case> = {
  'the user that the pod names': {
    spec: { containers: [sh('id -u', { securityContext: { runAsUser: 65534 } })] },
    prints: ['65534'],
  },
  "the image's user, where root is forbidden": {
    spec: { containers: [{ name: 'c', image: NOBODY_IMAGE, securityContext: { runAsNonRoot: true } }] },
    prints: ['65534'],
  },
  'a root file system that is read-only': {
    spec: { containers: [sh('echo x > /file', { securityContext: { readOnlyRootFilesystem: true } })] },
    prints: [/Read-only file system/],
    fails: true,
  },
  'and one that is not': {
    spec: { containers: [sh('echo x > /file && cat /file', { securityContext: { readOnlyRootFilesystem: false } })] },
    prints: ['x'],
  },
  'a container without privileges cannot change its network': {
    spec: { containers: [sh('ip link set lo down', { securityContext: { privileged: false } })] },
    prints: [/Operation not permitted/],
    fails: true,
  },
  'one with them can': {
    spec: { containers: [sh('ip link set lo down && echo done', { securityContext: { privileged: true } })] },
    prints: ['done'],
  },
  'privileges stay as they were': {
    spec: {
      containers: [
        sh('grep NoNewPrivs /proc/self/status', {
          securityContext: { allowPrivilegeEscalation: false, runAsUser: 1000 },
        }),
      ],
    },
    prints: ['NoNewPrivs:\t1'],
  },
  'or may grow, where nothing is said of them': {
    spec: { containers: [sh('grep NoNewPrivs /proc/self/status', { securityContext: { runAsUser: 1000 } })] },
    prints: ['NoNewPrivs:\t0'],
  },
};

const names: Record<string, Case> = {
  'aliases of hosts': {
    spec: {
      hostAliases: [{ ip: '123.45.67.89', hostnames: ['foo', 'bar'] }],
      containers: [sh('head -1 /etc/hosts; grep 123.45 /etc/hosts')],
    },
    prints: ['# Kubernetes-managed hosts file.', '123.45.67.89\tfoo\tbar'],
  },
  "hosts that are the container's own": {
    spec: {
      volumes: [{ name: 'v', hostPath: { path: '/etc/hosts', type: 'File' } }],
      containers: [sh('grep -c managed /etc/hosts || true', mount('v', { mountPath: '/etc/hosts' }))],
    },
    prints: ['0'],
  },
  "hosts on the host's network are the host's": {
    spec: { hostNetwork: true, containers: [sh('grep -cF "managed hosts file." /etc/hosts || true')] },
    prints: ['0'],
  },
  'a name of its own in a domain of its own': {
    spec: { hostname: 'me', subdomain: 'us', containers: [sh('hostname; hostname -f')] },
    prints: ['me', 'me.us.default.svc.cluster.local'],
  },
};

/** Files of each mode, made by root and by others, on disk and in memory. */
const emptyDirs: Record<string, Case> = Object.fromEntries(
  [disk, memory].flatMap((volume) =>
    [0, 1001].flatMap((uid) =>
      ['644', '666', '777'].map((mode) => [
        `a file of mode ${mode} by ${uid} in ${volume === memory ? 'memory' : 'an empty directory'}`,
        {
          spec: { ...asUser(uid), volumes: [volume], containers: [sh(makeFile(mode), mount('v'))] },
          // In memory with the sticky bit that the kernel gives to every tmpfs.
          prints: [`${mode} ${uid} 0`, volume === memory ? '1777' : '777', 'hello'],
        } satisfies Case,
      ]),
    ),
  ),
);

const volumes: Record<string, Case> = {
  ...emptyDirs,
  'memory is memory, as much as was asked for': {
    spec: {
      volumes: [{ name: 'v', emptyDir: { medium: 'Memory', sizeLimit: '3Mi' } }],
      containers: [sh("awk '$2 == \"/v\" {print $3}' /proc/mounts; df -k /v | awk 'END {print $2}'", mount('v'))],
    },
    prints: ['tmpfs', '3072'],
  },
  'new files belong to the group of the volume, for root and others': {
    spec: {
      ...inGroup(123),
      volumes: [disk, { name: 'w', emptyDir: { medium: 'Memory' } }],
      containers: [
        sh("touch /v/f /w/f; stat -c '%g' /v/f /w/f; stat -c '%A' /v /w", {
          volumeMounts: [
            { name: 'v', mountPath: '/v' },
            { name: 'w', mountPath: '/w' },
          ],
        }),
      ],
    },
    prints: ['123', '123', 'drwxrwsrwx', 'drwxrwsrwt'],
  },
  'a part of a volume that is made belongs to its group, too': {
    spec: {
      ...inGroup(123),
      volumes: [disk],
      containers: [sh("stat -c '%a %g' /v; touch /v/f; stat -c %g /v/f", mount('v', { subPath: 'made/here' }))],
    },
    prints: ['2777 123', '123'],
  },
  'containers share a volume': {
    spec: {
      volumes: [disk],
      initContainers: [sh('echo there > /v/f', { ...mount('v'), name: 'i' })],
      containers: [sh('until [ -e /v/g ]; do sleep 0.1; done; cat /v/f /v/g', mount('v')), other('echo here > /v/g')],
    },
    prints: ['there', 'here'],
  },
  'a volume is nobody else’s business where it is read-only': {
    spec: { volumes: [disk], containers: [sh('touch /v/f', mount('v', { readOnly: true }))] },
    prints: [/Read-only file system/],
    fails: true,
  },
  'a part of a volume whose name is a variable': {
    spec: {
      volumes: [disk],
      containers: [
        sh('ls /w', {
          env: [field('POD', 'metadata.name')],
          volumeMounts: [
            { name: 'v', mountPath: '/v', subPathExpr: '$(POD)' },
            { name: 'v', mountPath: '/w' },
          ],
        }),
      ],
    },
    prints: ({ metadata }) => [metadata.name ?? ''],
  },
  "a folder of the host has the host's mode, and is written": {
    spec: {
      volumes: [{ name: 'v', hostPath: { path: '/var/lib/shared', type: 'DirectoryOrCreate' } }],
      containers: [sh(`chmod 1777 /v; ${show('/v')}; echo x > /v/f; cat /v/f`, mount('v'))],
    },
    prints: ['1777 0', 'x'],
  },
  'a ConfigMap, as it comes': {
    spec: { volumes: [config], containers: [sh(`cat /v/data-1; echo; ${show('/v/data-1')}; ls /v`, mount('v'))] },
    prints: ['value-1', '644 0', 'binary', 'data-1', 'data-2'],
  },
  'a ConfigMap for others than root, with a mode': {
    spec: {
      ...asUser(1000),
      volumes: [{ name: 'v', configMap: { name: 'things', defaultMode: 0o444 } }],
      containers: [sh(`cat /v/data-1; echo; ${show('/v/data-1')}`, mount('v'))],
    },
    prints: ['value-1', '444 0'],
  },
  'with a mode and a group': {
    spec: {
      ...inGroup(1001),
      volumes: [{ name: 'v', configMap: { name: 'things', defaultMode: 0o440 } }],
      containers: [sh(`cat /v/data-1; echo; ${show('/v/data-1')}`, mount('v'))],
    },
    prints: ['value-1', '440 1001'],
  },
  'under other names, with a mode for one': {
    spec: {
      volumes: [
        {
          name: 'v',
          configMap: {
            name: 'things',
            items: [
              { key: 'data-2', path: 'path/to/two', mode: 0o400 },
              { key: 'data-1', path: 'one' },
            ],
          },
        },
      ],
      containers: [sh(`cat /v/path/to/two; echo; ${show('/v/path/to/two')}; ${show('/v/one')}; ls /v`, mount('v'))],
    },
    prints: ['value-2', '400 0', '644 0', 'one', 'path'],
  },
  'bytes are bytes': {
    spec: { volumes: [config], containers: [sh('od -An -tx1 /v/binary', mount('v'))] },
    prints: [' de ca fe ba d0 fe ff'],
  },
  'twice in one pod': {
    spec: {
      volumes: [config, { ...config, name: 'w' }],
      containers: [
        sh('cat /v/data-1 /w/data-1; echo', {
          volumeMounts: [
            { name: 'v', mountPath: '/v' },
            { name: 'w', mountPath: '/w' },
          ],
        }),
      ],
    },
    prints: ['value-1value-1'],
  },
  'a Secret is in memory, and for its group alone': {
    spec: {
      ...inGroup(1001),
      volumes: [{ name: 'v', secret: { secretName: 'hidden', defaultMode: 0o440 } }],
      containers: [
        sh(`cat /v/data-1; echo; ${show('/v/data-1')}; awk '$2 == "/v" {print $3}' /proc/mounts`, mount('v')),
      ],
    },
    prints: ['secret-1', '440 1001', 'tmpfs'],
  },
  'a Secret under another name, with a mode': {
    spec: {
      volumes: [
        { name: 'v', secret: { secretName: 'hidden', items: [{ key: 'data-1', path: 'new/one', mode: 0o400 }] } },
      ],
      containers: [sh(`cat /v/new/one; echo; ${show('/v/new/one')}`, mount('v'))],
    },
    prints: ['secret-1', '400 0'],
  },
  'what is optional may be missing': {
    spec: {
      volumes: [
        { name: 'v', configMap: { name: 'nowhere', optional: true } },
        { name: 'w', secret: { secretName: 'nowhere', optional: true } },
        { name: 'x', configMap: { name: 'things', optional: true, items: [{ key: 'nothing', path: 'n' }] } },
      ],
      containers: [
        sh('ls /v /w /x', {
          volumeMounts: ['v', 'w', 'x'].map((name) => ({ name, mountPath: `/${name}` })),
        }),
      ],
    },
    prints: ['/v:', '', '/w:', '', '/x:'],
  },
  'a pod about itself, in files': {
    metadata: { labels: { key1: 'value1', key2: 'value2' }, annotations: { builder: 'bar' } },
    spec: {
      volumes: [
        {
          name: 'v',
          downwardAPI: {
            defaultMode: 0o400,
            items: [
              { path: 'name', fieldRef: { fieldPath: 'metadata.name' } },
              { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' }, mode: 0o440 },
              { path: 'builder', fieldRef: { fieldPath: "metadata.annotations['builder']" } },
              amountFile('cpu', 'limits.cpu', '1m'),
              amountFile('memory', 'requests.memory'),
            ],
          },
        },
      ],
      containers: [
        sh(`for f in name labels builder cpu memory; do ${show('/v/$f')}; cat /v/$f; echo; done`, {
          ...mount('v'),
          resources: { limits: { cpu: '1250m' }, requests: { memory: '32Mi' } },
        }),
      ],
    },
    prints: ({ metadata }) => [
      ...['400 0', metadata.name ?? ''],
      ...['440 0', 'key1="value1"', 'key2="value2"'],
      ...['400 0', 'bar', '400 0', '1250', '400 0', String(32 << 20)],
    ],
  },
  'what the node has to give, in files': {
    spec: {
      volumes: [
        {
          name: 'v',
          downwardAPI: { items: [amountFile('cpu', 'limits.cpu'), amountFile('memory', 'limits.memory', '1Ki')] },
        },
      ],
      containers: [sh('cat /v/cpu; echo; cat /v/memory; echo', mount('v'))],
    },
    prints: () => {
      const { allocatable } = allocatableOfNode();
      return [allocatable['cpu'] ?? '', allocatable['memory']?.replace(/Ki$/, '') ?? ''];
    },
  },
  'all sources in one volume': {
    spec: {
      volumes: [
        {
          name: 'v',
          projected: {
            defaultMode: 0o400,
            sources: [
              { configMap: { name: 'things', items: [{ key: 'data-1', path: 'config' }] } },
              { secret: { name: 'hidden', items: [{ key: 'data-1', path: 'deep/secret', mode: 0o440 }] } },
              { downwardAPI: { items: [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }] } },
              { serviceAccountToken: { path: 'token', audience: 'somebody', expirationSeconds: 3600 } },
            ],
          },
        },
      ],
      containers: [
        sh(
          `${['config', 'deep/secret', 'name'].map((f) => `cat /v/${f}; echo; ${show(`/v/${f}`)}`).join('; ')};
          tr . '\\n' < /v/token | wc -l; ls /v`,
          mount('v'),
        ),
      ],
    },
    prints: ({ metadata }) => [
      ...['value-1', '400 0', 'secret-1', '440 0', metadata.name ?? '', '400 0'],
      ...['2', 'config', 'deep', 'name', 'token'],
    ],
  },
};

function other(script: string): Container {
  return sh(script, { ...mount('v'), name: 'other' });
}

const allocatableOfNode = () =>
  cluster.api.store.get(NODES, undefined, NODE)?.status as { allocatable: Record<string, string> };

/** What the container has printed, of both streams, in lines. */
function printed(pod: Pod, container = 'c'): string[] {
  const { name, uid } = pod.metadata;
  const log = readFileSync(cluster.host.path(`/var/log/pods/default_${name}_${uid}/${container}/0.log`), 'utf8');
  return log
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/^\S+ (stdout|stderr) [FP] /, ''));
}

let cluster: Cluster;
before(async () => {
  cluster = await Cluster.boot('prints', { images });
  const create = (kind: string, name: string, more: object) =>
    cluster.api.create({ apiVersion: 'v1', kind, metadata: { name, namespace: 'default' }, ...more } as DraftObject);
  const base64 = (bytes: string | number[]) => Buffer.from(bytes as string).toString('base64');
  create('ConfigMap', 'things', {
    data: { 'data-1': 'value-1', 'data-2': 'value-2' },
    binaryData: { binary: base64([0xde, 0xca, 0xfe, 0xba, 0xd0, 0xfe, 0xff]) },
  });
  create('Secret', 'hidden', { data: { 'data-1': base64('secret-1') } });
  create('Service', 'fooservice', {
    spec: {
      clusterIP: '10.96.7.8',
      clusterIPs: ['10.96.7.8'],
      ports: [{ port: 8765, targetPort: 8080, protocol: 'TCP' }],
    },
  });
});
after(() => cluster[Symbol.asyncDispose]());

let count = 0;
for (const [group, cases] of Object.entries({ environment, security, names, volumes })) {
  describe(group, { concurrency: 8 }, () => {
    for (const [sentence, { spec, metadata, prints, fails }] of Object.entries(cases)) {
      const name = `${group}-${count++}`;
      test(sentence, async () => {
        cluster.createPod(name, { restartPolicy: 'Never', ...spec }, metadata);
        const pod = await cluster.whenPod(name, ({ phase }) => phase === 'Succeeded' || phase === 'Failed');
        const lines = printed(pod);
        const expected = typeof prints === 'function' ? prints(pod) : prints;
        assert.equal(lines.length, expected.length, lines.join('\n'));
        for (const [index, wanted] of expected.entries()) {
          if (typeof wanted === 'string') assert.equal(lines[index], wanted, lines.join('\n'));
          else assert.match(lines[index] ?? '', wanted);
        }
        assert.equal(pod.status?.phase, fails ? 'Failed' : 'Succeeded');
      });
    }
  });
}

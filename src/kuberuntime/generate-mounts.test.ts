import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, Pod, VolumeDevice, VolumeMount } from '../api/core-v1.ts';
import * as cri from '../api/cri.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import {
  type ContainerVolume,
  nodeMounts,
  type PlannedMount,
  planVolumeMounts,
  volumeDevices,
} from './generate-mounts.ts';
import { ContainerError } from './sync-error.ts';

const volumes = new Map<string, ContainerVolume>([
  ['data', { hostPath: '/v/data', readOnly: false }],
  ['conf', { hostPath: '/v/conf', readOnly: true }],
  ['host', { hostPath: '/srv', readOnly: false }],
  ['image', { hostPath: '', readOnly: true, image: { image: 'sha256:abc' } }],
  ['disk', { hostPath: '', device: '/dev/loop7' }],
  ['cd', { hostPath: '', device: '/dev/loop8', readOnly: true }],
]);
const pod: Pod = deepFreeze({
  metadata: { name: 'p' },
  spec: {
    containers: [],
    volumes: [
      { name: 'data', emptyDir: {} },
      { name: 'conf', configMap: { name: 'cm' } },
      { name: 'host', hostPath: { path: '/srv' } },
      { name: 'image', image: { reference: 'i' } },
    ],
  },
});
const env = new Map([
  ['POD', 'web-0'],
  ['EMPTY', ''],
  ['UP', '../..'],
  ['ROOT', '/etc'],
]);

interface Given {
  readonly mount: Partial<VolumeMount>;
  readonly rro?: boolean;
  readonly selinux?: boolean;
}

function plan({ mount, rro = false, selinux = false }: Given): PlannedMount[] {
  const container: Container = { name: 'c', volumeMounts: [{ name: 'data', mountPath: '/d', ...mount }] };
  return planVolumeMounts({ pod, container: deepFreeze(container), env, volumes, recursiveReadOnly: rro, selinux });
}

const plain = { containerPath: '/d', hostPath: '/v/data' };
const part = { volume: 'data', index: 0 };

const planned: Record<string, Given & { expect: PlannedMount }> = {
  'a whole volume': { mount: {}, expect: { mount: plain } },
  'a path is seen from the root': { mount: { mountPath: 'd' }, expect: { mount: plain } },
  'read-only because it asks': { mount: { readOnly: true }, expect: { mount: { ...plain, readonly: true } } },
  'read-only because the node made it': {
    mount: { name: 'conf' },
    expect: { mount: { ...plain, hostPath: '/v/conf', readonly: true } },
  },
  'mounts of the host appear in it': {
    mount: { mountPropagation: 'HostToContainer' },
    expect: { mount: { ...plain, propagation: cri.MountPropagation.PROPAGATION_HOST_TO_CONTAINER } },
  },
  'and its own on the host': {
    mount: { mountPropagation: 'Bidirectional' },
    expect: { mount: { ...plain, propagation: cri.MountPropagation.PROPAGATION_BIDIRECTIONAL } },
  },
  'None is private': { mount: { mountPropagation: 'None' }, expect: { mount: plain } },
  'read-only all the way down': {
    mount: { readOnly: true, recursiveReadOnly: 'Enabled' },
    rro: true,
    expect: { mount: { ...plain, readonly: true, recursiveReadOnly: true } },
  },
  'if possible': {
    mount: { readOnly: true, recursiveReadOnly: 'IfPossible' },
    rro: true,
    expect: { mount: { ...plain, readonly: true, recursiveReadOnly: true } },
  },
  'if not possible, then not': {
    mount: { readOnly: true, recursiveReadOnly: 'IfPossible' },
    expect: { mount: { ...plain, readonly: true } },
  },
  'Disabled asks for nothing': { mount: { recursiveReadOnly: 'Disabled' }, rro: true, expect: { mount: plain } },
  'a part': { mount: { subPath: 'a/b' }, expect: { mount: plain, part: { ...part, subPath: 'a/b' } } },
  'a part named after the pod': {
    mount: { subPathExpr: 'logs/$(POD)/$$(POD)' },
    expect: { mount: plain, part: { ...part, subPath: 'logs/web-0/$(POD)' } },
  },
  'dots that do not lead up': {
    mount: { subPath: '..a/b..' },
    expect: { mount: plain, part: { ...part, subPath: '..a/b..' } },
  },
  'an image': {
    mount: { name: 'image' },
    expect: { mount: { containerPath: '/d', readonly: true, image: { image: 'sha256:abc' } } },
  },
  'a part of an image is for the runtime to find': {
    mount: { name: 'image', subPath: 'a' },
    expect: { mount: { containerPath: '/d', readonly: true, image: { image: 'sha256:abc' }, imageSubPath: 'a' } },
  },
  "the node's own volume gets the pod's label": {
    mount: {},
    selinux: true,
    expect: { mount: { ...plain, selinuxRelabel: true } },
  },
  "the operator's keeps its own": {
    mount: { name: 'host' },
    selinux: true,
    expect: { mount: { ...plain, hostPath: '/srv' } },
  },
};

for (const [sentence, given] of Object.entries(planned)) {
  test(`mount: ${sentence}`, () => assert.deepEqual(plan(given), [given.expect]));
}

const rro = (why: string) =>
  `failed to resolve recursive read-only mode: volume "data" requested recursive read-only mode, but it is ${why}`;

const refused: Record<string, Given & { message: string }> = {
  'a volume that there is not': {
    mount: { name: 'nope' },
    message: 'cannot find volume "nope" to mount into container "c"',
  },
  'a block device': { mount: { name: 'disk' }, message: 'cannot find volume "disk" to mount into container "c"' },
  'a part from the root': {
    mount: { subPath: '/etc' },
    message: 'error SubPath `/etc` must not be an absolute path',
  },
  'a part above the volume': {
    mount: { subPath: 'a/../../b' },
    message: "unable to provision SubPath `a/../../b`: must not contain '..'",
  },
  'a variable that leads to the root': {
    mount: { subPathExpr: '$(ROOT)/x' },
    message: 'error SubPath `/etc/x` must not be an absolute path',
  },
  'a variable that leads up': {
    mount: { subPathExpr: '$(UP)/x' },
    message: "unable to provision SubPath `../../x`: must not contain '..'",
  },
  'variables without a value': {
    mount: { subPathExpr: '$(POD)/$(NOPE)/$(EMPTY)' },
    message: 'missing value for EMPTY, NOPE',
  },
  'an unknown propagation': {
    mount: { mountPropagation: 'Sideways' as 'None' },
    message: 'invalid MountPropagation mode: "Sideways"',
  },
  'recursive read-only of what may be written': {
    mount: { recursiveReadOnly: 'Enabled' },
    rro: true,
    message: rro('not read-only'),
  },
  'recursive read-only with propagation': {
    mount: { readOnly: true, recursiveReadOnly: 'IfPossible', mountPropagation: 'HostToContainer' },
    rro: true,
    message: rro('not compatible with propagation "HostToContainer"'),
  },
  'recursive read-only by a runtime that cannot': {
    mount: { readOnly: true, recursiveReadOnly: 'Enabled' },
    message: rro('not supported by the runtime'),
  },
};

/** Fails a container before it is made, with this sentence. */
const withMessage = (message: string) => (error: unknown) => {
  assert.ok(error instanceof ContainerError);
  assert.deepEqual([error.code, error.message], ['CreateContainerConfigError', message]);
  return true;
};

for (const [sentence, { message, ...given }] of Object.entries(refused)) {
  test(`mount: ${sentence} is refused`, () => assert.throws(() => plan(given), withMessage(message)));
}

const devices: Record<string, { device: VolumeDevice; expect: cri.Device | string }> = {
  'a device': {
    device: { name: 'disk', devicePath: '/dev/xvda' },
    expect: { hostPath: '/dev/loop7', containerPath: '/dev/xvda', permissions: 'mrw' },
  },
  'a device to read from': {
    device: { name: 'cd', devicePath: '/dev/cd' },
    expect: { hostPath: '/dev/loop8', containerPath: '/dev/cd', permissions: 'r' },
  },
  'a path that is not one': {
    device: { name: 'disk', devicePath: 'dev' },
    expect: 'error DevicePath `dev` must be an absolute path',
  },
  'a volume of files': {
    device: { name: 'data', devicePath: '/dev/a' },
    expect: 'cannot find volume "data" to pass into container "c"',
  },
};

for (const [sentence, { device, expect }] of Object.entries(devices)) {
  test(`device: ${sentence}`, () => {
    const give = () => volumeDevices({ name: 'c', volumeDevices: [device] }, volumes);
    if (typeof expect === 'string') assert.throws(give, withMessage(expect));
    else assert.deepEqual(give(), [expect]);
  });
}

const files = { hostsPath: '/p/etc-hosts', terminationLogPath: '/p/words' };
const hosts = { containerPath: '/etc/hosts', hostPath: '/p/etc-hosts' };
const words = { containerPath: '/dev/termination-log', hostPath: '/p/words' };

const always: Record<
  string,
  { over?: Partial<Container>; hostsPath?: undefined; selinux?: boolean; expect: cri.Mount[] }
> = {
  'every container gets its hosts and a file for its last words': { expect: [hosts, words] },
  'one that brings its own hosts does not get those': {
    over: { volumeMounts: [{ name: 'data', mountPath: '/etc/hosts' }] },
    expect: [words],
  },
  'a pod without an address has no hosts yet': { hostsPath: undefined, expect: [words] },
  'last words where the container wants to write them': {
    over: { terminationMessagePath: 'tmp/last' },
    expect: [hosts, { ...words, containerPath: '/tmp/last' }],
  },
  'both are labelled where SELinux runs': {
    selinux: true,
    expect: [hosts, words].map((mount) => ({ ...mount, selinuxRelabel: true })),
  },
};

for (const [sentence, { over, expect, selinux = false, ...changes }] of Object.entries(always)) {
  test(sentence, () => assert.deepEqual(nodeMounts({ name: 'c', ...over }, { ...files, ...changes }, selinux), expect));
}

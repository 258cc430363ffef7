import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, Pod, PodSecurityContext, PodSpec, SecurityContext } from '../api/core-v1.ts';
import { NamespaceMode, ProfileType, SupplementalGroupsPolicy, type UserNamespace } from '../api/cri.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import {
  containerSecurityContext,
  type ImageUser,
  mapMounts,
  namespaceOptions,
  nonRootViolation,
  type SecuritySettings,
  sandboxSecurityContext,
} from './security-context.ts';

interface Given {
  readonly own?: SecurityContext;
  readonly shared?: PodSecurityContext;
  readonly spec?: Partial<PodSpec>;
  readonly image?: ImageUser;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly settings?: Partial<SecuritySettings>;
}

const root: ImageUser = { uid: 0, username: '' };

function make({ own, shared, spec, annotations = {} }: Given): { pod: Pod; container: Container } {
  const container: Container = { name: 'c', image: 'i', ...(own ? { securityContext: own } : {}) };
  const metadata = { name: 'p', namespace: 'ns', uid: 'u', annotations };
  const pod: Pod = {
    metadata,
    spec: { containers: [container], ...(shared ? { securityContext: shared } : {}), ...spec },
  };
  return deepFreeze({ pod, container });
}

// --- runAsNonRoot ---

const where = '(pod: "p_ns(u)", container: c)';
const nonRoot = { runAsNonRoot: true };

const violations: Record<string, Given & { expect: string | undefined }> = {
  'nobody asks: root may run': { expect: undefined },
  'runAsNonRoot: false asks for nothing': { own: { runAsNonRoot: false }, expect: undefined },
  'an image of root': { own: nonRoot, expect: `container has runAsNonRoot and image will run as root ${where}` },
  'the pod asks for all its containers': {
    shared: nonRoot,
    expect: `container has runAsNonRoot and image will run as root ${where}`,
  },
  'the container has the last word': { shared: nonRoot, own: { runAsNonRoot: false }, expect: undefined },
  'an image of another user': { own: nonRoot, image: { uid: 1000, username: '' }, expect: undefined },
  'an image of a user known by name only': {
    own: nonRoot,
    image: { uid: undefined, username: 'app' },
    expect: `container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root ${where}`,
  },
  'an image of a user that cannot be': {
    own: nonRoot,
    image: { uid: 2 ** 31, username: '' },
    expect: `container has runAsNonRoot and image has an invalid user id (2147483648). (Must be 1-(2147483647)): must be between 0 and 2147483647, inclusive ${where}`,
  },
  'an image that names no user': { own: nonRoot, image: { uid: undefined, username: '' }, expect: undefined },
  'a user given beside it is what counts': { own: { ...nonRoot, runAsUser: 1000 }, expect: undefined },
  'also when it is root': {
    own: { ...nonRoot, runAsUser: 0 },
    image: { uid: 1000, username: '' },
    expect: `container's runAsUser breaks non-root policy ${where}`,
  },
  "also when it is the pod's": {
    own: nonRoot,
    shared: { runAsUser: 0 },
    image: { uid: 1000, username: '' },
    expect: `container's runAsUser breaks non-root policy ${where}`,
  },
  "the container's user before the pod's": {
    own: { ...nonRoot, runAsUser: 1000 },
    shared: { runAsUser: 0 },
    expect: undefined,
  },
};

for (const [sentence, given] of Object.entries(violations)) {
  test(`runAsNonRoot: ${sentence}`, () => {
    const { pod, container } = make(given);
    assert.equal(nonRootViolation(pod, container, given.image ?? root), given.expect);
  });
}

// --- What the processes run as and may do ---

const contexts: Record<string, Given & { expect: object; absent?: string[] }> = {
  "the image's user where nobody says another": { expect: { runAsUser: { value: 0 } }, absent: ['runAsUsername'] },
  "the image's user by name": {
    image: { uid: undefined, username: 'app' },
    expect: { runAsUsername: 'app' },
    absent: ['runAsUser'],
  },
  'an image without a user says nothing': {
    image: { uid: undefined, username: '' },
    expect: {},
    absent: ['runAsUser', 'runAsUsername'],
  },
  'root, where it is asked for, is not mistaken for nothing': {
    own: { runAsUser: 0, runAsGroup: 0 },
    image: { uid: 1000, username: '' },
    expect: { runAsUser: { value: 0 }, runAsGroup: { value: 0 } },
  },
  "the container's own before the pod's": {
    own: { runAsUser: 1 },
    shared: { runAsUser: 2, runAsGroup: 3 },
    expect: { runAsUser: { value: 1 }, runAsGroup: { value: 3 } },
  },
  'fsGroup comes first among the groups': {
    shared: { fsGroup: 5, supplementalGroups: [6, 7] },
    expect: { supplementalGroups: [5, 6, 7] },
  },
  'no escalation': { own: { allowPrivilegeEscalation: false }, expect: { noNewPrivs: true } },
  'escalation that nobody forbids': { own: {}, expect: {}, absent: ['noNewPrivs', 'privileged', 'readonlyRootfs'] },
  'privileges win over the word against escalation': {
    own: { allowPrivilegeEscalation: false, privileged: true },
    expect: { privileged: true },
    absent: ['noNewPrivs'],
  },
  'so does the capability that comes to the same': {
    own: { allowPrivilegeEscalation: false, capabilities: { add: ['CAP_SYS_ADMIN'] } },
    expect: { capabilities: { addCapabilities: ['CAP_SYS_ADMIN'], dropCapabilities: [] } },
    absent: ['noNewPrivs'],
  },
  'an unmasked /proc': { own: { procMount: 'Unmasked' }, expect: { maskedPaths: [], readonlyPaths: [] } },
  'no profile is no confinement': {
    expect: { seccomp: { profileType: ProfileType.Unconfined } },
    absent: ['apparmor'],
  },
  'a profile of the host is found below its folder': {
    own: { seccompProfile: { type: 'Localhost', localhostProfile: 'a/b.json' } },
    expect: { seccomp: { profileType: ProfileType.Localhost, localhostRef: '/root/seccomp/a/b.json' } },
  },
  'an AppArmor profile is known by its name': {
    shared: { appArmorProfile: { type: 'Localhost', localhostProfile: 'strict' } },
    expect: {
      apparmor: { profileType: ProfileType.Localhost, localhostRef: 'strict' },
      apparmorProfile: 'localhost/strict',
    },
  },
  'also when an old manifest names it in an annotation': {
    annotations: { 'container.apparmor.security.beta.kubernetes.io/c': 'runtime/default' },
    expect: { apparmor: { profileType: ProfileType.RuntimeDefault }, apparmorProfile: 'runtime/default' },
  },
  "the runtime's seccomp profile for everybody, where the node says so": {
    settings: { seccompDefault: true },
    expect: { seccomp: { profileType: ProfileType.RuntimeDefault } },
  },
  'but not for who wants none': {
    own: { seccompProfile: { type: 'Unconfined' } },
    settings: { seccompDefault: true },
    expect: { seccomp: { profileType: ProfileType.Unconfined } },
  },
  'a profile does not leave its folder by dots': {
    own: { seccompProfile: { type: 'Localhost', localhostProfile: './a.json' } },
    expect: { seccomp: { profileType: ProfileType.Localhost, localhostRef: '/root/seccomp/a.json' } },
  },
  'groups of the image do not count when only those of the pod shall': {
    shared: { supplementalGroups: [5], supplementalGroupsPolicy: 'Strict' },
    expect: { supplementalGroups: [5], supplementalGroupsPolicy: SupplementalGroupsPolicy.Strict },
  },
  'they are merged without a word': {
    shared: { supplementalGroupsPolicy: 'Merge' },
    expect: {},
    absent: ['supplementalGroupsPolicy'],
  },
  'capabilities are passed on as they are spelled': {
    own: { capabilities: { add: ['NET_ADMIN'], drop: ['ALL'] } },
    expect: { capabilities: { addCapabilities: ['NET_ADMIN'], dropCapabilities: ['ALL'] } },
  },
  'SELinux options of the container stand alone': {
    own: { seLinuxOptions: { level: 's0:c1' } },
    shared: { seLinuxOptions: { level: 's0', type: 't' } },
    expect: { selinuxOptions: { level: 's0:c1' } },
  },
  "the runtime's own profiles, the container's before the pod's": {
    own: { seccompProfile: { type: 'RuntimeDefault' } },
    shared: { seccompProfile: { type: 'Unconfined' } },
    expect: { seccomp: { profileType: ProfileType.RuntimeDefault } },
  },
};

for (const [sentence, given] of Object.entries(contexts)) {
  test(`processes: ${sentence}`, () => {
    const { pod, container } = make(given);
    const context = containerSecurityContext(pod, container, given.image ?? root, {
      seccompRoot: '/root/seccomp',
      ...given.settings,
    });
    assert.partialDeepStrictEqual(context, given.expect);
    for (const field of given.absent ?? []) assert.equal(field in context, false, field);
  });
}

// --- Namespaces ---

const { POD, CONTAINER, NODE } = NamespaceMode;
const own = { network: POD, pid: CONTAINER, ipc: POD, usernsOptions: { mode: NODE } };

const namespaces: Record<string, { spec: Partial<PodSpec>; expect: object }> = {
  'a pod has its own network and IPC, a container its own processes': { spec: {}, expect: {} },
  "the host's network": { spec: { hostNetwork: true }, expect: { network: NODE } },
  "the host's processes": { spec: { hostPID: true }, expect: { pid: NODE } },
  "the host's IPC": { spec: { hostIPC: true }, expect: { ipc: NODE } },
  'processes shared in the pod': { spec: { shareProcessNamespace: true }, expect: { pid: POD } },
  "the host's users": { spec: { hostUsers: true }, expect: {} },
};

for (const [sentence, { spec, expect }] of Object.entries(namespaces)) {
  test(`namespaces: ${sentence}`, () => {
    assert.deepEqual(namespaceOptions(make({ spec }).pod), { ...own, ...expect });
  });
}

test('the sandbox is privileged as soon as one of its containers is, init containers too', () => {
  const init: Container = { name: 'i', image: 'i', securityContext: { privileged: true } };
  assert.equal(sandboxSecurityContext(make({}).pod).privileged, undefined);
  assert.equal(sandboxSecurityContext(make({ spec: { initContainers: [init] } }).pod).privileged, true);
});

// --- Users of its own ---

const ids = [{ hostId: 131_072, containerId: 0, length: 65_536 }];
const users: UserNamespace = { mode: POD, uids: ids, gids: ids };

test('sandbox, container and mounts of a pod with users of its own name them', () => {
  const { pod, container } = make({ spec: { hostUsers: false } });
  const settings = { seccompRoot: '/root/seccomp', userNamespace: users };
  assert.deepEqual(sandboxSecurityContext(pod, users).namespaceOptions?.usernsOptions, users);
  const context = containerSecurityContext(pod, container, root, settings);
  assert.deepEqual(context.namespaceOptions?.usernsOptions, users);
  const mount = { containerPath: '/a', hostPath: '/b' };
  assert.deepEqual(mapMounts([mount], users), [{ ...mount, uidMappings: ids, gidMappings: ids }]);
});

test("mounts of a pod with the host's users are left as they are", () => {
  const mounts = [{ containerPath: '/a', hostPath: '/b' }];
  assert.equal(mapMounts(mounts, undefined), mounts);
  assert.equal(mapMounts(mounts, { mode: NODE }), mounts);
});

test('hidden paths of the machine come after those of every machine', () => {
  const { pod, container } = make({});
  const context = containerSecurityContext(pod, container, root, { seccompRoot: '', maskedPaths: ['/sys/own'] });
  assert.equal(context.maskedPaths?.[0], '/proc/asound');
  assert.equal(context.maskedPaths?.at(-1), '/sys/own');
});

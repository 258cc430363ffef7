import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { PodSpec } from '../api/core-v1.ts';
import { NamespaceMode, type PodSandboxConfig } from '../api/cri.ts';
import { CriError } from '../cri/services.ts';
import { desiredPod, podParts } from '../testing/pod-parts.ts';

const signal = new AbortController().signal;
const request = { attempt: 0, fresh: true, cgroupParent: '/kubepods/pod', resources: {}, overhead: {} };
type Parts = ReturnType<typeof podParts>;

/** Makes the sandbox of a pod, as its sync does it. */
async function make({ sandboxes, root }: Parts, spec: Partial<PodSpec> = {}, more: Partial<typeof request> = {}) {
  const desired = desiredPod(spec);
  mkdirSync(join(root, 'root/pods', desired.uid), { recursive: true });
  const prepared = await sandboxes.prepare(desired, { ...request, ...more });
  await sandboxes.make(desired, prepared, signal);
  return prepared;
}

/** What RunPodSandbox was called with last. */
const called = ({ fake }: Parts) =>
  fake.calls.findLast((c) => c.method === 'RunPodSandbox')?.args as readonly [PodSandboxConfig, string];

const failed = (text: string) => [`Warning FailedCreatePodSandBox: Failed to create pod sandbox: ${text}`];

test('a pod runs under the default handler with its own name', async () => {
  using parts = podParts();
  await make(parts, { hostname: 'web' });
  const [config, handler] = called(parts);
  assert.deepEqual([config.hostname, handler], ['web', '']);
  assert.deepEqual(parts.events.lines, []);
});

test("a RuntimeClass's handler runs the pod", async () => {
  using parts = podParts();
  parts.runtimeClasses.set('sandboxed', { metadata: { name: 'sandboxed' }, handler: 'other' });
  assert.equal((await make(parts, { runtimeClassName: 'sandboxed' })).handler, 'other');
  assert.equal(called(parts)[1], 'other');
});

test('a RuntimeClass that is not there is said, and waited for', async () => {
  using parts = podParts();
  await assert.rejects(make(parts, { runtimeClassName: 'sandboxed' }), { code: 'RuntimeClassNotFound' });
  const text = 'runtimeclass.node.k8s.io "sandboxed" not found (the pod starts as soon as the RuntimeClass is there)';
  assert.deepEqual(parts.events.lines, failed(text));
  assert.deepEqual(parts.fake.methods(), []);
});

test('one that was removed since takes nothing away from a pod that runs', async () => {
  using parts = podParts();
  const prepared = await parts.sandboxes.prepare(desiredPod({ runtimeClassName: 'gone' }), {
    ...request,
    fresh: false,
  });
  assert.equal(prepared.handler, '');
  assert.deepEqual(parts.events.lines, []);
});

test("a handler that the runtime has not is the runtime's to refuse", async () => {
  using parts = podParts();
  parts.runtimeClasses.set('odd', { metadata: { name: 'odd' }, handler: 'nobody' });
  await assert.rejects(make(parts, { runtimeClassName: 'odd' }), (error) => error instanceof CriError);
  assert.deepEqual(parts.events.lines, failed('failed to get sandbox runtime: no runtime for "nobody" is configured'));
});

test('a name that is too long for the kernel is said', async () => {
  using parts = podParts();
  const spec = { subdomain: 's'.repeat(60), setHostnameAsFQDN: true };
  await assert.rejects(make(parts, spec), { code: 'FqdnTooLong' });
  assert.match(parts.events.lines.join(), /^Warning FailedCreatePodSandBox: .*failed to construct FQDN/);
});

test("but not of a pod that has the host's name", async () => {
  using parts = podParts();
  await make(parts, { subdomain: 's'.repeat(60), setHostnameAsFQDN: true, hostNetwork: true });
  assert.equal(called(parts)[0].hostname, undefined);
});

test('what DNS has to leave out is said when the sandbox is made, not with each container', async () => {
  using parts = podParts();
  const nameservers = ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4'];
  const spec: Partial<PodSpec> = { dnsPolicy: 'None', dnsConfig: { nameservers } };
  await make(parts, spec);
  await parts.sandboxes.prepare(desiredPod(spec), { ...request, fresh: false });
  assert.deepEqual(parts.events.reasons, ['DNSConfigForming']);
});

test('a sandbox that is made again says so', async () => {
  using parts = podParts();
  await make(parts, {}, { attempt: 1 });
  const text = 'Normal SandboxChanged: Pod sandbox changed, it will be killed and re-created.';
  assert.deepEqual(parts.events.lines, [text]);
});

test('users of its own are refused where the runtime has none', async () => {
  using parts = podParts();
  await assert.rejects(make(parts, { hostUsers: false }), { code: 'NoUserNamespaces' });
  const hint = 'hostUsers: false needs a container runtime that reports user namespaces, such as containerd 2.0';
  assert.deepEqual(parts.events.lines, failed(`the handler "" is not known (${hint})`));
});

test('users of its own are given where it has, and taken back', async () => {
  using parts = podParts();
  parts.handlers.push({ name: '', features: { userNamespaces: true } });
  const { userNamespace } = await make(parts, { hostUsers: false });
  const ids = [{ hostId: 65_536, containerId: 0, length: 65_536 }];
  assert.deepEqual(userNamespace, { mode: NamespaceMode.POD, uids: ids, gids: ids });
  assert.deepEqual(called(parts)[0].linux?.securityContext?.namespaceOptions?.usernsOptions, userNamespace);
  const file = join(parts.root, 'root/pods/u1/userns');
  assert.ok(existsSync(file));
  await parts.sandboxes.release(desiredPod().uid);
  assert.equal(existsSync(file), false);
});

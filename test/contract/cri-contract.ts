import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ContainerState,
  type ContainerStatus,
  NamespaceMode,
  type PodSandboxConfig,
  PodSandboxState,
} from '../../src/api/cri.ts';
import { type ImageService, isCriCode, type RuntimeService } from '../../src/cri/services.ts';

/** A runtime with one image in it, and what the suite needs to steer it. */
export interface CriFixture {
  readonly runtime: RuntimeService;
  readonly images: ImageService;
  /** Present. A container of it ends with 143 on SIGTERM. */
  readonly image: string;
  /** A sandbox without a network of its own, so that the suite needs no CNI. */
  sandboxConfig(name: string): PodSandboxConfig;
  /** Makes the container's first process end with the code. */
  exit(containerId: string, exitCode: number): Promise<void>;
}

/** What keelson relies on in a container runtime. Runs against containerd and against the fake. */
export function criContract(kind: string, fixture: () => CriFixture): void {
  const signal = AbortSignal.timeout(120_000);
  const { CONTAINER_CREATED, CONTAINER_RUNNING, CONTAINER_EXITED } = ContainerState;
  const { SANDBOX_READY, SANDBOX_NOTREADY } = PodSandboxState;

  const containerConfig = (image: string, attempt = 0) => ({
    metadata: { name: 'main', attempt },
    image: { image },
    labels: { attempt: `${attempt}` },
    annotations: { note: 'a' },
    logPath: `main/${attempt}.log`,
    linux: { securityContext: { namespaceOptions: { network: NamespaceMode.NODE, pid: NamespaceMode.CONTAINER } } },
  });

  const pod = async (name: string) => {
    const f = fixture();
    const config = f.sandboxConfig(name);
    const sandboxId = await f.runtime.runPodSandbox(config, '', signal);
    const create = (attempt = 0) =>
      f.runtime.createContainer(sandboxId, containerConfig(f.image, attempt), config, signal);
    const start = async (attempt = 0) => {
      const id = await create(attempt);
      await f.runtime.startContainer(id, signal);
      return id;
    };
    return { ...f, config, sandboxId, create, start };
  };

  const untilExited = async (runtime: RuntimeService, id: string): Promise<ContainerStatus> => {
    for (;;) {
      const status = await runtime.containerStatus(id, signal);
      if (status.state === CONTAINER_EXITED) return status;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };

  const contract = (sentence: string, run: () => Promise<void>) => test(`${kind}: ${sentence}`, run);

  contract('a container goes through created, running and exited, with stamps that grow', async () => {
    const { runtime, create, sandboxId, exit } = await pod('life');
    const id = await create();
    assert.equal((await runtime.containerStatus(id, signal)).state ?? 0, CONTAINER_CREATED);
    await runtime.startContainer(id, signal);
    assert.equal((await runtime.containerStatus(id, signal)).state, CONTAINER_RUNNING);
    await exit(id, 7);
    const status = await untilExited(runtime, id);
    assert.equal(status.exitCode, 7);
    assert.equal(status.reason, 'Error');
    const { createdAt = 0, startedAt = 0, finishedAt = 0 } = status;
    assert.ok(createdAt > 1e18 && createdAt <= startedAt && startedAt <= finishedAt, JSON.stringify(status));
    assert.deepEqual([status.metadata?.name, status.metadata?.attempt], ['main', 0]);
    assert.equal(status.annotations?.['note'], 'a');
    assert.equal((await runtime.podSandboxStatus(sandboxId, signal)).state ?? 0, SANDBOX_READY);
  });

  contract('an exit with zero is "Completed"', async () => {
    const { runtime, start, exit } = await pod('completed');
    const id = await start();
    await exit(id, 0);
    const status = await untilExited(runtime, id);
    assert.deepEqual([status.exitCode ?? 0, status.reason], [0, 'Completed']);
  });

  contract('a container is started once', async () => {
    const { runtime, start, exit } = await pod('twice');
    const id = await start();
    await assert.rejects(runtime.startContainer(id, signal), /container is in CONTAINER_RUNNING state/);
    await exit(id, 1);
    await untilExited(runtime, id);
    await assert.rejects(runtime.startContainer(id, signal), /container is in CONTAINER_EXITED state/);
  });

  contract('stopping sends SIGTERM, and is done for one that was stopped or never was', async () => {
    const { runtime, start, create } = await pod('stop');
    const id = await start();
    await runtime.stopContainer(id, 30, signal);
    const status = await runtime.containerStatus(id, signal);
    assert.deepEqual([status.state, status.exitCode], [CONTAINER_EXITED, 143]);
    await runtime.stopContainer(id, 30, signal);
    await runtime.stopContainer('0'.repeat(64), 30, signal);
    const created = await create(1);
    await runtime.stopContainer(created, 30, signal);
    assert.equal((await runtime.containerStatus(created, signal)).state ?? 0, CONTAINER_CREATED);
  });

  contract('stopping with no time kills', async () => {
    const { runtime, start } = await pod('kill');
    const id = await start();
    await runtime.stopContainer(id, 0, signal);
    const status = await runtime.containerStatus(id, signal);
    assert.deepEqual([status.state, status.exitCode], [CONTAINER_EXITED, 137]);
  });

  contract('removing a running container kills it; removing what is gone is done', async () => {
    const { runtime, start } = await pod('remove');
    const id = await start();
    await runtime.removeContainer(id, signal);
    await assert.rejects(runtime.containerStatus(id, signal), (error) => isCriCode(error, 'NOT_FOUND'));
    await runtime.removeContainer(id, signal);
  });

  contract('stopping a sandbox kills its containers and refuses new ones', async () => {
    const { runtime, start, create, sandboxId } = await pod('sandbox');
    const id = await start();
    const waiting = await create(1);
    await runtime.stopPodSandbox(sandboxId, signal);
    await runtime.stopPodSandbox(sandboxId, signal);
    const status = await untilExited(runtime, id);
    assert.equal(status.exitCode, 137);
    assert.equal((await runtime.podSandboxStatus(sandboxId, signal)).state, SANDBOX_NOTREADY);
    await assert.rejects(create(2), (error) => isCriCode(error, 'NOT_FOUND'));
    await assert.rejects(runtime.startContainer(waiting, signal), /is not running/);
  });

  contract('removing a sandbox removes its containers, even from under a running one', async () => {
    const { runtime, start, sandboxId } = await pod('gone');
    const id = await start();
    await runtime.removePodSandbox(sandboxId, signal);
    await runtime.removePodSandbox(sandboxId, signal);
    await runtime.stopPodSandbox(sandboxId, signal);
    await assert.rejects(runtime.podSandboxStatus(sandboxId, signal), (error) => isCriCode(error, 'NOT_FOUND'));
    assert.deepEqual(await runtime.listContainers({ id }, signal), []);
  });

  contract('a name is used once: of a sandbox, and of a container in it', async () => {
    const { runtime, config, create, sandboxId } = await pod('names');
    await assert.rejects(runtime.runPodSandbox(config, '', signal), /failed to reserve sandbox name/);
    const id = await create();
    await assert.rejects(create(), /failed to reserve container name/);
    await runtime.removeContainer(id, signal);
    await create();
    await runtime.removePodSandbox(sandboxId, signal);
    await runtime.removePodSandbox(await runtime.runPodSandbox(config, '', signal), signal);
  });

  contract('lists are filtered by sandbox, state and labels', async () => {
    const { runtime, start, create, sandboxId, config } = await pod('lists');
    const running = await start(0);
    const created = await create(1);
    const ids = async (filter: Parameters<RuntimeService['listContainers']>[0]) =>
      (await runtime.listContainers({ podSandboxId: sandboxId, ...filter }, signal)).map(({ id }) => id).sort();
    assert.deepEqual(await ids({}), [running, created].sort());
    assert.deepEqual(await ids({ state: { state: CONTAINER_RUNNING } }), [running]);
    assert.deepEqual(await ids({ state: { state: CONTAINER_CREATED } }), [created]);
    assert.deepEqual(await ids({ labelSelector: { attempt: '1' } }), [created]);
    const sandboxes = await runtime.listPodSandbox({ labelSelector: config.labels ?? {} }, signal);
    assert.deepEqual(
      sandboxes.map(({ id }) => id),
      [sandboxId],
    );
    assert.deepEqual(await runtime.listPodSandbox({ id: sandboxId, state: { state: SANDBOX_NOTREADY } }, signal), []);
  });

  contract('a running container has figures of what it uses', async () => {
    const { runtime, start, sandboxId } = await pod('figures');
    const id = await start();
    const [stats, ...others] = await runtime.listContainerStats({ podSandboxId: sandboxId }, signal);
    assert.deepEqual(others, []);
    assert.equal(stats?.attributes?.id, id);
    assert.ok((stats?.cpu?.timestamp ?? 0) > 1e18 && (stats?.cpu?.usageCoreNanoSeconds?.value ?? 0) > 0);
    assert.ok((stats?.memory?.workingSetBytes?.value ?? 0) > 0);
    assert.deepEqual(await runtime.listContainerStats({ id: '0'.repeat(64) }, signal), []);
  });

  contract('what is unknown is NOT_FOUND', async () => {
    const { runtime, images, create, config, sandboxId } = await pod('unknown');
    const notFound = (error: unknown) => isCriCode(error, 'NOT_FOUND');
    const none = '0'.repeat(64);
    await assert.rejects(runtime.containerStatus(none, signal), notFound);
    await assert.rejects(runtime.startContainer(none, signal), notFound);
    await assert.rejects(runtime.execSync(none, ['true'], 5, signal), notFound);
    await assert.rejects(runtime.podSandboxStatus(none, signal), notFound);
    const missing = { metadata: { name: 'x', attempt: 0 }, image: { image: 'registry.test/none:1' } };
    await assert.rejects(runtime.createContainer(sandboxId, missing, config, signal), notFound);
    assert.equal(await images.imageStatus({ image: 'registry.test/none:1' }, signal), undefined);
    await images.removeImage({ image: 'registry.test/none:1' }, signal);
    await create();
  });

  contract('a command runs only in a running container', async () => {
    const { runtime, start, create } = await pod('exec');
    assert.equal((await runtime.execSync(await start(), ['true'], 5, signal)).exitCode ?? 0, 0);
    await assert.rejects(runtime.execSync(await create(1), ['true'], 5, signal), /CONTAINER_CREATED state/);
  });

  contract('a command with streams is served at an address of its own, for a running container', async () => {
    const { runtime, start, create } = await pod('exec-streams');
    const id = await start();
    const request = { containerId: id, cmd: ['true'], stdout: true };
    const urls = [await runtime.exec(request, signal), await runtime.exec(request, signal)];
    for (const url of urls) assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/exec\/./);
    assert.notEqual(urls[0], urls[1]);
    const waiting = { ...request, containerId: await create(1) };
    await assert.rejects(runtime.exec(waiting, signal), /container is in CONTAINER_CREATED state/);
    const none = { ...request, containerId: '0'.repeat(64) };
    await assert.rejects(runtime.exec(none, signal), (error) => isCriCode(error, 'NOT_FOUND'));
    const refused = (error: unknown) => isCriCode(error, 'INVALID_ARGUMENT');
    await assert.rejects(runtime.exec({ ...request, stdout: false }, signal), refused);
    await assert.rejects(runtime.exec({ ...request, tty: true, stderr: true }, signal), refused);
  });

  contract("a running container's own streams are served likewise", async () => {
    const { runtime, start, create } = await pod('attach-streams');
    const request = { containerId: await start(), stdin: true, stdout: true };
    assert.match(await runtime.attach(request, signal), /^http:\/\/127\.0\.0\.1:\d+\/attach\/./);
    const waiting = { ...request, containerId: await create(1) };
    await assert.rejects(runtime.attach(waiting, signal), /container is in CONTAINER_CREATED state/);
    const none = { ...request, containerId: '0'.repeat(64) };
    await assert.rejects(runtime.attach(none, signal), (error) => isCriCode(error, 'NOT_FOUND'));
    const refused = (error: unknown) => isCriCode(error, 'INVALID_ARGUMENT');
    await assert.rejects(runtime.attach({ containerId: request.containerId }, signal), refused);
    await assert.rejects(runtime.attach({ ...request, tty: true, stderr: true }, signal), refused);
  });

  contract('ports are served of a sandbox that runs', async () => {
    const { runtime, sandboxId } = await pod('ports');
    const url = await runtime.portForward({ podSandboxId: sandboxId }, signal);
    assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/portforward\/./);
    await runtime.stopPodSandbox(sandboxId, signal);
    const forward = (id: string) => runtime.portForward({ podSandboxId: id, port: [80] }, signal);
    await assert.rejects(forward(sandboxId), /sandbox container is not running/);
    await assert.rejects(forward('0'.repeat(64)), (error) => isCriCode(error, 'NOT_FOUND'));
  });

  contract('resources are reported as they were set, and changed while the container runs', async () => {
    const { runtime, config, sandboxId, image, exit } = await pod('resources');
    const resources = { cpuPeriod: 100_000, cpuQuota: 20_000, cpuShares: 102, memoryLimitInBytes: 64 << 20 };
    const container = containerConfig(image);
    const linux = { ...container.linux, resources: { ...resources, oomScoreAdj: 900 } };
    const id = await runtime.createContainer(sandboxId, { ...container, linux }, config, signal);
    const reported = async () => {
      const found = (await runtime.containerStatus(id, signal)).resources?.linux ?? {};
      return [found.cpuQuota, found.cpuShares, found.memoryLimitInBytes, found.oomScoreAdj];
    };
    assert.deepEqual(await reported(), [20_000, 102, 64 << 20, 900]);
    await runtime.startContainer(id, signal);
    await runtime.updateContainerResources(id, { ...resources, cpuQuota: 40_000, oomScoreAdj: 800 }, signal);
    assert.deepEqual(await reported(), [40_000, 102, 64 << 20, 900]);
    await runtime.updateContainerResources(id, { cpuShares: 204, memoryLimitInBytes: 128 << 20 }, signal);
    assert.deepEqual(await reported(), [40_000, 204, 128 << 20, 900]);
    await exit(id, 0);
    await untilExited(runtime, id);
    assert.deepEqual(await reported(), [40_000, 204, 128 << 20, 900]);
    await runtime.removeContainer(id, signal);
    const late = runtime.updateContainerResources(id, resources, signal);
    await assert.rejects(late, (error) => isCriCode(error, 'NOT_FOUND'));
  });

  contract('an image is found by its name and its id', async () => {
    const { images, image } = fixture();
    const found = await images.imageStatus({ image }, signal);
    const id = found?.id ?? '';
    assert.match(id, /^sha256:/);
    assert.ok(found?.repoTags?.includes(image));
    assert.equal((await images.imageStatus({ image: id }, signal))?.id, id);
    assert.ok((await images.listImages(signal)).some((listed) => listed.id === id));
    assert.ok((found?.size ?? 0) > 0);
  });

  contract('a short name is one of docker.io', async () => {
    const { images } = fixture();
    const full = 'docker.io/library/short:1';
    const found = await images.imageStatus({ image: full }, signal);
    assert.ok(found?.repoTags?.includes(full));
    for (const image of ['short:1', 'library/short:1', 'docker.io/short:1']) {
      assert.equal((await images.imageStatus({ image }, signal))?.id, found?.id, image);
    }
    assert.equal(await images.imageStatus({ image: 'short:2' }, signal), undefined);
  });

  contract('a sandbox keeps the handler that it runs under', async () => {
    const { runtime, sandboxConfig } = fixture();
    const ids = new Map<string, string>();
    for (const handler of ['', 'other'])
      ids.set(await runtime.runPodSandbox(sandboxConfig(`handler-${handler}`), handler, signal), handler);
    const listed = await runtime.listPodSandbox({}, signal);
    for (const [id, handler] of ids) assert.equal(listed.find((s) => s.id === id)?.runtimeHandler ?? '', handler);
  });

  contract('a handler that the runtime has not is refused, and names itself', async () => {
    const { runtime, sandboxConfig } = fixture();
    const run = runtime.runPodSandbox(sandboxConfig('no-handler'), 'nobody', signal);
    await assert.rejects(
      run,
      (error) => isCriCode(error, 'UNKNOWN') && /no runtime for "nobody" is configured/.test(`${error}`),
    );
  });

  contract('the runtime says that it is ready', async () => {
    const { runtime } = fixture();
    const { status } = await runtime.status(signal);
    assert.equal(status?.conditions?.find(({ type }) => type === 'RuntimeReady')?.status, true);
    assert.equal((await runtime.version(signal)).runtimeApiVersion, 'v1');
  });

  contract('an aborted call rejects with the reason', async () => {
    const { runtime } = fixture();
    const reason = new Error('enough');
    await assert.rejects(runtime.version(AbortSignal.abort(reason)), reason);
  });
}

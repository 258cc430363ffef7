import * as cri from '../api/cri.ts';
import type { Clock } from '../lib/clock.ts';
import { FakeEventStream } from './fake-event-stream.ts';
import { FakeImages } from './fake-images.ts';
import { CriError, type ImageService, type RuntimeService } from './services.ts';

export interface FakeCall {
  readonly method: string;
  /** Without the signal. */
  readonly args: readonly unknown[];
}

export interface FakeCriOptions {
  readonly clock: Clock;
  /** Whether GetContainerEvents streams (containerd 1.7 and later) or answers UNIMPLEMENTED. */
  readonly events?: boolean;
  /** Names present from the start. */
  readonly images?: readonly string[];
  /** Handlers beside the default one. */
  readonly handlers?: readonly string[];
}

interface FakeSandbox {
  readonly id: string;
  readonly config: cri.PodSandboxConfig;
  readonly runtimeHandler: string;
  readonly createdAt: number;
  readonly ip: string;
  state: cri.PodSandboxState;
}

interface FakeContainer {
  readonly id: string;
  readonly sandboxId: string;
  readonly config: cri.ContainerConfig;
  readonly imageId: string;
  readonly createdAt: number;
  state: cri.ContainerState;
  startedAt: number;
  finishedAt: number;
  exitCode: number;
  reason: string;
  message: string;
  ignoresTerm: boolean;
  resources: cri.LinuxContainerResources;
}

type Gate = { readonly promise: Promise<void>; readonly open: () => void };

/**
 * A container runtime in memory that behaves like containerd 1.6, including what it refuses and with
 * which code (test/contract/cri-contract.ts runs against both). Tests steer it: containers end when
 * `exitContainer` says so, calls fail once `injectError` was told, or wait behind `block`.
 */
export class FakeCri {
  readonly runtime: RuntimeService;
  readonly images: ImageService;
  readonly calls: FakeCall[] = [];
  readonly imageStore: FakeImages;
  networkReady = true;
  runtimeReady = true;
  /** What ExecSync answers. */
  exec: (containerId: string, command: readonly string[]) => cri.ExecSyncResponse = () => ({ exitCode: 0 });
  /** Where Exec, Attach and PortForward say that they are served; a token is added. */
  streamingServer = 'http://127.0.0.1:10010';
  readonly #clock: Clock;
  readonly #handlers: ReadonlySet<string>;
  readonly #events: FakeEventStream;
  readonly #sandboxes = new Map<string, FakeSandbox>();
  readonly #containers = new Map<string, FakeContainer>();
  readonly #errors = new Map<string, CriError[]>();
  readonly #gates = new Map<string, Gate>();
  #ids = 0;
  #ips = 0;

  constructor(options: FakeCriOptions) {
    this.#clock = options.clock;
    this.#handlers = new Set(['', ...(options.handlers ?? [])]);
    this.#events = new FakeEventStream(options.events ?? false);
    this.imageStore = new FakeImages();
    for (const name of options.images ?? []) this.imageStore.add(name);
    this.runtime = this.#runtimeService();
    this.images = this.#imageService();
  }

  /** The next `times` calls of the RPC ('RunPodSandbox', 'PullImage', …) fail with the error. */
  injectError(method: string, error: CriError, times = 1): void {
    const queue = this.#errors.get(method) ?? [];
    this.#errors.set(method, [...queue, ...Array<CriError>(times).fill(error)]);
  }

  /** Calls of the RPC wait until the returned function is called; an aborted caller does not. */
  block(method: string): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    const open = () => {
      this.#gates.delete(method);
      resolve();
    };
    this.#gates.set(method, { promise, open });
    return open;
  }

  /** The container's first process ends by itself. */
  exitContainer(id: string, exitCode: number, options: { reason?: string; message?: string } = {}): void {
    const container = this.#container('exitContainer', id);
    if (container.state !== cri.ContainerState.CONTAINER_RUNNING) throw new Error(`container ${id} does not run`);
    this.#end(container, exitCode, options.reason, options.message);
  }

  /** From now on the container takes no notice of the stop signal and has to be killed. */
  ignoreTerm(id: string): void {
    this.#container('ignoreTerm', id).ignoresTerm = true;
  }

  /** The sandbox dies with everything in it, as when its network namespace holder is killed. */
  killSandbox(id: string): void {
    this.#stopSandbox(this.#sandbox('killSandbox', id));
  }

  /** Names of the RPCs called, in order; those that only look are left out unless `all`. */
  methods(all = false): readonly string[] {
    const looking = /^(Version|Status|RuntimeConfig|List|PodSandboxStatus|ContainerStatus|ImageStatus|ImageFsInfo)/;
    return this.calls.map(({ method }) => method).filter((method) => all || !looking.test(method));
  }

  /** What containerd's own event stream would say: the shape of subscribeContainerdEvents. */
  taskEvents(signal: AbortSignal): AsyncIterable<{ readonly topic: string; readonly containerId: string }> {
    return this.#events.tasks(signal);
  }

  async #enter(method: string, args: readonly unknown[], signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.calls.push({ method, args });
    await Promise.race([this.#gates.get(method)?.promise, this.#gates.has(method) ? aborted(signal) : undefined]);
    signal.throwIfAborted();
    const error = this.#errors.get(method)?.shift();
    if (error) throw error;
  }

  #runtimeService(): RuntimeService {
    const enter = this.#enter.bind(this);
    return {
      version: async (signal) => {
        await enter('Version', [], signal);
        return { version: '0.1.0', runtimeName: 'fake', runtimeVersion: '1.6.20', runtimeApiVersion: 'v1' };
      },
      status: async (signal) => {
        await enter('Status', [], signal);
        return { status: { conditions: this.#conditions() } };
      },
      runtimeConfig: async (signal) => {
        await enter('RuntimeConfig', [], signal);
        throw new CriError('RuntimeConfig', 'UNIMPLEMENTED', 'unknown method RuntimeConfig');
      },
      runPodSandbox: async (config, runtimeHandler, signal) => {
        await enter('RunPodSandbox', [config, runtimeHandler], signal);
        return this.#runSandbox(config, runtimeHandler);
      },
      stopPodSandbox: async (id, signal) => {
        await enter('StopPodSandbox', [id], signal);
        const sandbox = this.#sandboxes.get(id);
        if (sandbox) this.#stopSandbox(sandbox);
      },
      removePodSandbox: async (id, signal) => {
        await enter('RemovePodSandbox', [id], signal);
        this.#removeSandbox(id);
      },
      podSandboxStatus: async (id, signal) => {
        await enter('PodSandboxStatus', [id], signal);
        return sandboxStatus(this.#sandbox('PodSandboxStatus', id));
      },
      listPodSandbox: async (filter, signal) => {
        await enter('ListPodSandbox', [filter], signal);
        return [...this.#sandboxes.values()].filter((sandbox) => sandboxMatches(sandbox, filter)).map(sandboxItem);
      },
      createContainer: async (sandboxId, config, sandboxConfig, signal) => {
        await enter('CreateContainer', [sandboxId, config, sandboxConfig], signal);
        return this.#create(sandboxId, config);
      },
      startContainer: async (id, signal) => {
        await enter('StartContainer', [id], signal);
        this.#start(id);
      },
      stopContainer: async (id, timeoutSeconds, signal) => {
        await enter('StopContainer', [id, timeoutSeconds], signal);
        await this.#stop(id, timeoutSeconds, signal);
      },
      removeContainer: async (id, signal) => {
        await enter('RemoveContainer', [id], signal);
        this.#remove(id);
      },
      listContainers: async (filter, signal) => {
        await enter('ListContainers', [filter], signal);
        return [...this.#containers.values()].filter((c) => containerMatches(c, filter)).map(containerItem);
      },
      containerStatus: async (id, signal) => {
        await enter('ContainerStatus', [id], signal);
        return containerStatus(this.#container('ContainerStatus', id));
      },
      listContainerStats: async (filter, signal) => {
        await enter('ListContainerStats', [filter], signal);
        const running = { ...filter, state: { state: cri.ContainerState.CONTAINER_RUNNING } };
        const found = [...this.#containers.values()].filter((c) => containerMatches(c, running));
        return found.map((c) => containerStats(c, this.#stamp()));
      },
      updateContainerResources: async (id, linux, signal) => {
        await enter('UpdateContainerResources', [id, linux], signal);
        this.#update(id, linux);
      },
      reopenContainerLog: async (id, signal) => {
        await enter('ReopenContainerLog', [id], signal);
        this.#running('ReopenContainerLog', id);
      },
      execSync: async (id, command, timeoutSeconds, signal) => {
        await enter('ExecSync', [id, command, timeoutSeconds], signal);
        this.#running('ExecSync', id);
        return this.exec(id, command);
      },
      exec: async (request, signal) => {
        await enter('Exec', [request], signal);
        this.#running('Exec', request.containerId ?? '');
        return this.#streamUrl('exec', 'Exec', request);
      },
      attach: async (request, signal) => {
        await enter('Attach', [request], signal);
        this.#running('Attach', request.containerId ?? '');
        return this.#streamUrl('attach', 'Attach', request);
      },
      portForward: async (request, signal) => {
        await enter('PortForward', [request], signal);
        const { state } = this.#sandbox('PortForward', request.podSandboxId ?? '');
        if (state === cri.PodSandboxState.SANDBOX_READY) return this.#streamUrl('portforward');
        throw new CriError('PortForward', 'UNKNOWN', 'sandbox container is not running');
      },
      getContainerEvents: (signal) => this.#events.containers(signal),
    };
  }

  #imageService(): ImageService {
    const enter = this.#enter.bind(this);
    const store = this.imageStore;
    return {
      listImages: async (signal) => {
        await enter('ListImages', [], signal);
        return store.list();
      },
      imageStatus: async (image, signal) => {
        await enter('ImageStatus', [image], signal);
        return store.find(image.image ?? '');
      },
      pullImage: async (image, auth, sandboxConfig, signal) => {
        await enter('PullImage', [image, auth, sandboxConfig], signal);
        return store.pull(image.image ?? '');
      },
      removeImage: async (image, signal) => {
        await enter('RemoveImage', [image], signal);
        store.remove(image.image ?? '');
      },
      imageFsInfo: async (signal) => {
        await enter('ImageFsInfo', [], signal);
        const fsId = { mountpoint: '/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs' };
        const timestamp = this.#stamp();
        return { imageFilesystems: [{ timestamp, fsId, usedBytes: { value: 0 }, inodesUsed: { value: 0 } }] };
      },
    };
  }

  #conditions(): cri.RuntimeCondition[] {
    const message = 'Network plugin returns error: cni plugin not initialized';
    return [
      { type: 'RuntimeReady', status: this.runtimeReady },
      this.networkReady
        ? { type: 'NetworkReady', status: true }
        : { type: 'NetworkReady', status: false, reason: 'NetworkPluginNotReady', message },
    ];
  }

  #runSandbox(config: cri.PodSandboxConfig, runtimeHandler: string): string {
    const method = 'RunPodSandbox';
    const name = sandboxName(config);
    const holder = [...this.#sandboxes.values()].find((sandbox) => sandboxName(sandbox.config) === name);
    if (holder) {
      throw new CriError(
        method,
        'UNKNOWN',
        `failed to reserve sandbox name "${name}": name is reserved for "${holder.id}"`,
      );
    }
    if (!this.#handlers.has(runtimeHandler)) {
      const message = `failed to get sandbox runtime: no runtime for "${runtimeHandler}" is configured`;
      throw new CriError(method, 'UNKNOWN', message);
    }
    const hostNetwork = config.linux?.securityContext?.namespaceOptions?.network === cri.NamespaceMode.NODE;
    if (!hostNetwork && !this.networkReady) {
      throw new CriError(
        method,
        'UNKNOWN',
        `failed to setup network for sandbox "${name}": cni plugin not initialized`,
      );
    }
    const ip = hostNetwork ? '' : `10.88.${Math.floor(++this.#ips / 250)}.${(this.#ips % 250) + 1}`;
    const state = cri.PodSandboxState.SANDBOX_READY;
    const sandbox = { id: this.#newId(), config, runtimeHandler, createdAt: this.#stamp(), ip, state };
    this.#sandboxes.set(sandbox.id, sandbox);
    this.#events.emit('/tasks/start', sandbox.id, this.#stamp());
    return sandbox.id;
  }

  #stopSandbox(sandbox: FakeSandbox): void {
    for (const container of this.#containersOf(sandbox.id)) {
      if (container.state === cri.ContainerState.CONTAINER_RUNNING) this.#end(container, 137);
    }
    if (sandbox.state === cri.PodSandboxState.SANDBOX_NOTREADY) return;
    sandbox.state = cri.PodSandboxState.SANDBOX_NOTREADY;
    this.#events.emit('/tasks/exit', sandbox.id, this.#stamp());
  }

  #removeSandbox(id: string): void {
    const sandbox = this.#sandboxes.get(id);
    if (sandbox === undefined) return;
    this.#stopSandbox(sandbox);
    for (const container of this.#containersOf(id)) this.#containers.delete(container.id);
    this.#sandboxes.delete(id);
  }

  #create(sandboxId: string, config: cri.ContainerConfig): string {
    const method = 'CreateContainer';
    const sandbox = this.#sandbox(method, sandboxId);
    if (sandbox.state !== cri.PodSandboxState.SANDBOX_READY) {
      throw new CriError(method, 'NOT_FOUND', 'failed to get sandbox container task: no running task found: not found');
    }
    const image = this.imageStore.find(config.image?.image ?? '');
    if (image === undefined) {
      throw new CriError(method, 'NOT_FOUND', `failed to resolve image "${config.image?.image}": not found`);
    }
    const name = containerName(sandbox, config);
    const holder = this.#containersOf(sandboxId).find((other) => containerName(sandbox, other.config) === name);
    if (holder) {
      const details = `failed to reserve container name "${name}": name is reserved for "${holder.id}"`;
      throw new CriError(method, 'UNKNOWN', details);
    }
    const container: FakeContainer = {
      id: this.#newId(),
      sandboxId,
      config,
      imageId: image.id ?? '',
      createdAt: this.#stamp(),
      state: cri.ContainerState.CONTAINER_CREATED,
      startedAt: 0,
      finishedAt: 0,
      exitCode: 0,
      reason: '',
      message: '',
      ignoresTerm: false,
      resources: reportedResources(config.linux?.resources ?? {}),
    };
    this.#containers.set(container.id, container);
    return container.id;
  }

  #start(id: string): void {
    const method = 'StartContainer';
    const container = this.#container(method, id);
    if (container.state !== cri.ContainerState.CONTAINER_CREATED) {
      const details = `failed to set starting state for container "${id}": container is in ${stateName(container)} state`;
      throw new CriError(method, 'UNKNOWN', details);
    }
    if (this.#sandboxes.get(container.sandboxId)?.state !== cri.PodSandboxState.SANDBOX_READY) {
      throw new CriError(method, 'UNKNOWN', `sandbox container "${container.sandboxId}" is not running`);
    }
    container.state = cri.ContainerState.CONTAINER_RUNNING;
    container.startedAt = this.#stamp();
    this.#events.emit('/tasks/start', id, container.startedAt);
  }

  async #stop(id: string, timeoutSeconds: number, signal: AbortSignal): Promise<void> {
    const container = this.#containers.get(id);
    if (container?.state !== cri.ContainerState.CONTAINER_RUNNING) return;
    if (timeoutSeconds > 0 && container.ignoresTerm) await this.#clock.sleep(timeoutSeconds * 1000, signal);
    if (container.state !== cri.ContainerState.CONTAINER_RUNNING) return;
    this.#end(container, timeoutSeconds > 0 && !container.ignoresTerm ? 143 : 137);
  }

  #update(id: string, linux: cri.LinuxContainerResources): void {
    const container = this.#container('UpdateContainerResources', id);
    // The kernel's score is the only one that is not changed afterwards.
    const { oomScoreAdj: _, ...changes } = reportedResources(linux);
    container.resources = { ...container.resources, ...changes };
  }

  #remove(id: string): void {
    const container = this.#containers.get(id);
    if (container?.state === cri.ContainerState.CONTAINER_RUNNING) this.#end(container, 137);
    this.#containers.delete(id);
  }

  #end(container: FakeContainer, exitCode: number, reason?: string, message = ''): void {
    container.state = cri.ContainerState.CONTAINER_EXITED;
    container.exitCode = exitCode;
    container.finishedAt = this.#stamp();
    container.reason = reason ?? (exitCode === 0 ? 'Completed' : 'Error');
    container.message = message;
    this.#events.emit('/tasks/exit', container.id, container.finishedAt);
  }

  #sandbox(method: string, id: string): FakeSandbox {
    const sandbox = this.#sandboxes.get(id);
    if (sandbox) return sandbox;
    throw new CriError(method, 'NOT_FOUND', `an error occurred when try to find sandbox: not found`);
  }

  #container(method: string, id: string): FakeContainer {
    const container = this.#containers.get(id);
    if (container) return container;
    throw new CriError(method, 'NOT_FOUND', `an error occurred when try to find container "${id}": not found`);
  }

  #running(method: string, id: string): void {
    const container = this.#container(method, id);
    if (container.state === cri.ContainerState.CONTAINER_RUNNING) return;
    throw new CriError(method, 'UNKNOWN', `container is in ${stateName(container)} state`);
  }

  #streamUrl(kind: string, method = '', streams: cri.AttachRequest = { stdout: true }): string {
    const { stdin, stdout, stderr, tty } = streams;
    if (!stdin && !stdout && !stderr) {
      throw new CriError(method, 'INVALID_ARGUMENT', 'one of stdin, stdout, or stderr must be set');
    }
    if (tty && stderr) throw new CriError(method, 'INVALID_ARGUMENT', 'tty and stderr cannot both be true');
    return `${this.streamingServer}/${kind}/token${++this.#ids}`;
  }

  #containersOf(sandboxId: string): readonly FakeContainer[] {
    return [...this.#containers.values()].filter((container) => container.sandboxId === sandboxId);
  }

  #newId(): string {
    return (++this.#ids).toString(16).padStart(64, '0');
  }

  /** Nanoseconds. */
  #stamp(): number {
    return this.#clock.now() * 1_000_000;
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

const sandboxName = ({ metadata }: cri.PodSandboxConfig): string =>
  `${metadata?.name}_${metadata?.namespace}_${metadata?.uid}_${metadata?.attempt ?? 0}`;

const containerName = (sandbox: FakeSandbox, { metadata }: cri.ContainerConfig): string =>
  `${metadata?.name}_${sandboxName(sandbox.config)}_${metadata?.attempt ?? 0}`;

const stateName = ({ state }: FakeContainer): string =>
  Object.entries(cri.ContainerState).find(([, value]) => value === state)?.[0] ?? `${state}`;

function labelsMatch(
  labels: Readonly<Record<string, string>> = {},
  selector: Readonly<Record<string, string>> = {},
): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}

function sandboxMatches({ id, state, config }: FakeSandbox, filter: cri.PodSandboxFilter): boolean {
  if (filter.id && !id.startsWith(filter.id)) return false;
  if (filter.state && (filter.state.state ?? 0) !== state) return false;
  return labelsMatch(config.labels, filter.labelSelector);
}

function containerMatches({ id, sandboxId, state, config }: FakeContainer, filter: cri.ContainerFilter): boolean {
  if (filter.id && !id.startsWith(filter.id)) return false;
  if (filter.podSandboxId && !sandboxId.startsWith(filter.podSandboxId)) return false;
  if (filter.state && (filter.state.state ?? 0) !== state) return false;
  return labelsMatch(config.labels, filter.labelSelector);
}

function sandboxItem({ id, config, state, createdAt, runtimeHandler }: FakeSandbox): cri.PodSandbox {
  const { metadata = null, labels = {}, annotations = {} } = config;
  return { id, metadata, state, createdAt, labels, annotations, runtimeHandler };
}

function sandboxStatus(sandbox: FakeSandbox): cri.PodSandboxStatus {
  const options = sandbox.config.linux?.securityContext?.namespaceOptions ?? {};
  // A stopped sandbox has given its address back.
  const ip = sandbox.state === cri.PodSandboxState.SANDBOX_READY ? sandbox.ip : '';
  return { ...sandboxItem(sandbox), network: { ip, additionalIps: [] }, linux: { namespaces: { options } } };
}

function containerItem(container: FakeContainer): cri.Container {
  const { id, config, state, createdAt, imageId, sandboxId } = container;
  const { metadata = null, labels = {}, annotations = {} } = config;
  const image = { image: imageId };
  return { id, podSandboxId: sandboxId, metadata, image, imageRef: imageId, state, createdAt, labels, annotations };
}

function containerStats({ id, config }: FakeContainer, timestamp: number): cri.ContainerStats {
  const { metadata = null, labels = {}, annotations = {} } = config;
  const fsId = { mountpoint: '/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs' };
  return {
    attributes: { id, metadata, labels, annotations },
    cpu: { timestamp, usageCoreNanoSeconds: { value: 1_000_000 } },
    memory: { timestamp, workingSetBytes: { value: 1 << 20 } },
    writableLayer: { timestamp, fsId, usedBytes: { value: 4096 }, inodesUsed: { value: 1 } },
  };
}

function containerStatus(container: FakeContainer): cri.ContainerStatus {
  const { id, config, state, createdAt, startedAt, finishedAt, exitCode, imageId, reason, message } = container;
  const { metadata = null, labels = {}, annotations = {}, mounts = [], logPath = '' } = config;
  const resources = { linux: container.resources };
  const image = { image: config.image?.image ?? '' };
  const stamps = { createdAt, startedAt, finishedAt };
  return {
    ...{ id, metadata, state, ...stamps, exitCode, image, imageRef: imageId, reason, message },
    ...{ labels, annotations, mounts, logPath, resources },
  };
}

/** What containerd remembers of a container's resources: what was set, as it was written. */
function reportedResources(linux: cri.LinuxContainerResources): cri.LinuxContainerResources {
  const { cpuPeriod, cpuQuota, cpuShares, memoryLimitInBytes, oomScoreAdj, memorySwapLimitInBytes } = linux;
  const numbers = { cpuPeriod, cpuQuota, cpuShares, memoryLimitInBytes, oomScoreAdj, memorySwapLimitInBytes };
  return Object.fromEntries(Object.entries(numbers).filter(([, value]) => value));
}

import type * as cri from '../api/cri.ts';
import { longestGraceSeconds } from '../api/pod.ts';
import type { Clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import { GrpcChannel, type Rpc, rpcsOf } from './grpc-channel.ts';
import { loadProto } from './proto-files.ts';
import { type ImageService, isCriCode, type RuntimeService } from './services.ts';

export interface CriClientOptions {
  /** 'unix:///run/containerd/containerd.sock', or the bare path. */
  readonly endpoint: string;
  /** kubelet's runtimeRequestTimeout. */
  readonly requestTimeoutMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

export interface CriClient {
  readonly runtime: RuntimeService;
  readonly images: ImageService;
  /** Ends the connection; calls under way fail. */
  close(): void;
}

/**
 * The two CRI services over one connection. Connects with the first call. Throws an AgentError when the
 * endpoint is no unix socket address.
 *
 * Deadlines follow the kubelet: `requestTimeoutMs` for a call, twice that for RunPodSandbox (which may
 * have to wait for the remains of an earlier attempt), the command's or grace time on top for ExecSync
 * and StopContainer. PullImage and the event stream have none: they end by the signal.
 */
export function createCriClient(options: CriClientOptions): CriClient {
  const channel = new GrpcChannel(options);
  const root = loadProto('cri-v1.proto');
  return {
    runtime: runtimeService(channel, rpcsOf(root, 'runtime.v1.RuntimeService'), options.requestTimeoutMs),
    images: imageService(channel, rpcsOf(root, 'runtime.v1.ImageService'), options.requestTimeoutMs),
    close: () => channel.close(),
  };
}

function runtimeService(channel: GrpcChannel, rpc: (method: string) => Rpc, usualMs: number): RuntimeService {
  const method = <Request extends object, Response extends object>(name: string) => {
    const target = rpc(name);
    return (request: Request, signal: AbortSignal, timeoutMs: number | undefined = usualMs) =>
      channel.unary(target, request, timeoutMs, signal) as Promise<Response>;
  };
  const version = method<cri.VersionRequest, cri.VersionResponse>('Version');
  const status = method<cri.StatusRequest, cri.StatusResponse>('Status');
  const runtimeConfig = method<cri.RuntimeConfigRequest, cri.RuntimeConfigResponse>('RuntimeConfig');
  const runPodSandbox = method<cri.RunPodSandboxRequest, cri.RunPodSandboxResponse>('RunPodSandbox');
  const stopPodSandbox = method<cri.StopPodSandboxRequest, cri.StopPodSandboxResponse>('StopPodSandbox');
  const removePodSandbox = method<cri.RemovePodSandboxRequest, cri.RemovePodSandboxResponse>('RemovePodSandbox');
  const podSandboxStatus = method<cri.PodSandboxStatusRequest, cri.PodSandboxStatusResponse>('PodSandboxStatus');
  const listPodSandbox = method<cri.ListPodSandboxRequest, cri.ListPodSandboxResponse>('ListPodSandbox');
  const createContainer = method<cri.CreateContainerRequest, cri.CreateContainerResponse>('CreateContainer');
  const startContainer = method<cri.StartContainerRequest, cri.StartContainerResponse>('StartContainer');
  const stopContainer = method<cri.StopContainerRequest, cri.StopContainerResponse>('StopContainer');
  const removeContainer = method<cri.RemoveContainerRequest, cri.RemoveContainerResponse>('RemoveContainer');
  const listContainers = method<cri.ListContainersRequest, cri.ListContainersResponse>('ListContainers');
  const containerStatus = method<cri.ContainerStatusRequest, cri.ContainerStatusResponse>('ContainerStatus');
  const listContainerStats = method<cri.ListContainerStatsRequest, cri.ListContainerStatsResponse>(
    'ListContainerStats',
  );
  const updateResources = method<cri.UpdateContainerResourcesRequest, cri.UpdateContainerResourcesResponse>(
    'UpdateContainerResources',
  );
  const reopenLog = method<cri.ReopenContainerLogRequest, cri.ReopenContainerLogResponse>('ReopenContainerLog');
  const execSync = rpc('ExecSync');
  const exec = method<cri.ExecRequest, cri.ExecResponse>('Exec');
  const attach = method<cri.AttachRequest, cri.AttachResponse>('Attach');
  const portForward = method<cri.PortForwardRequest, cri.PortForwardResponse>('PortForward');
  const events = rpc('GetContainerEvents');

  return {
    version: (signal) => version({ version: 'v1' }, signal),
    status: (signal, verbose = false) => status({ verbose }, signal),
    runtimeConfig: (signal) => runtimeConfig({}, signal),
    runPodSandbox: async (config, runtimeHandler, signal) => {
      const response = await runPodSandbox({ config, runtimeHandler }, signal, 2 * usualMs);
      return response.podSandboxId ?? '';
    },
    stopPodSandbox: (podSandboxId, signal) => goneIsDone(stopPodSandbox({ podSandboxId }, signal)),
    removePodSandbox: (podSandboxId, signal) => goneIsDone(removePodSandbox({ podSandboxId }, signal)),
    podSandboxStatus: async (podSandboxId, signal) =>
      (await podSandboxStatus({ podSandboxId, verbose: false }, signal)).status ?? {},
    listPodSandbox: async (filter, signal) => (await listPodSandbox({ filter }, signal)).items ?? [],
    createContainer: async (podSandboxId, config, sandboxConfig, signal) => {
      const response = await createContainer({ podSandboxId, config, sandboxConfig }, signal);
      return response.containerId ?? '';
    },
    startContainer: async (containerId, signal) => void (await startContainer({ containerId }, signal)),
    stopContainer: (containerId, timeoutSeconds, signal) => {
      const timeout = Math.min(timeoutSeconds, longestGraceSeconds);
      return goneIsDone(stopContainer({ containerId, timeout }, signal, timeout * 1000 + usualMs));
    },
    removeContainer: (containerId, signal) => goneIsDone(removeContainer({ containerId }, signal)),
    listContainers: async (filter, signal) => (await listContainers({ filter }, signal)).containers ?? [],
    containerStatus: async (containerId, signal) =>
      (await containerStatus({ containerId, verbose: false }, signal)).status ?? {},
    listContainerStats: async (filter, signal) => (await listContainerStats({ filter }, signal)).stats ?? [],
    updateContainerResources: async (containerId, linux, signal) =>
      void (await updateResources({ containerId, linux }, signal)),
    reopenContainerLog: async (containerId, signal) => void (await reopenLog({ containerId }, signal)),
    execSync: (containerId, command, timeoutSeconds, signal) => {
      // Without a time of its own the command may take as long as the caller's signal allows.
      const deadlineMs = timeoutSeconds > 0 ? timeoutSeconds * 1000 + usualMs : undefined;
      const request: cri.ExecSyncRequest = { containerId, cmd: command, timeout: timeoutSeconds };
      return channel.unary(execSync, request, deadlineMs, signal) as Promise<cri.ExecSyncResponse>;
    },
    exec: async (request, signal) => (await exec(request, signal)).url ?? '',
    attach: async (request, signal) => (await attach(request, signal)).url ?? '',
    portForward: async (request, signal) => (await portForward(request, signal)).url ?? '',
    getContainerEvents: (signal) =>
      channel.serverStream(events, {}, signal) as AsyncIterable<cri.ContainerEventResponse>,
  };
}

function imageService(channel: GrpcChannel, rpc: (method: string) => Rpc, usualMs: number): ImageService {
  const method = <Request extends object, Response extends object>(name: string, timeoutMs: number | undefined) => {
    const target = rpc(name);
    return (request: Request, signal: AbortSignal) =>
      channel.unary(target, request, timeoutMs, signal) as Promise<Response>;
  };
  const listImages = method<cri.ListImagesRequest, cri.ListImagesResponse>('ListImages', usualMs);
  const imageStatus = method<cri.ImageStatusRequest, cri.ImageStatusResponse>('ImageStatus', usualMs);
  const pullImage = method<cri.PullImageRequest, cri.PullImageResponse>('PullImage', undefined);
  const removeImage = method<cri.RemoveImageRequest, cri.RemoveImageResponse>('RemoveImage', usualMs);
  const imageFsInfo = method<cri.ImageFsInfoRequest, cri.ImageFsInfoResponse>('ImageFsInfo', usualMs);

  return {
    listImages: async (signal) => (await listImages({}, signal)).images ?? [],
    imageStatus: async (image, signal) => (await imageStatus({ image, verbose: false }, signal)).image ?? undefined,
    pullImage: async (image, auth, sandboxConfig, signal) =>
      (await pullImage({ image, auth: auth ?? null, sandboxConfig }, signal)).imageRef ?? '',
    removeImage: async (image, signal) => void (await removeImage({ image }, signal)),
    imageFsInfo: (signal) => imageFsInfo({}, signal),
  };
}

/** Stopping or removing what is gone already has reached its aim; containerd 1.6 says NOT_FOUND where CRI asks for success. */
async function goneIsDone(call: Promise<object>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!isCriCode(error, 'NOT_FOUND')) throw error;
  }
}

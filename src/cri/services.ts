import type * as cri from '../api/cri.ts';
import { AgentError } from '../lib/errors.ts';

/**
 * PORT: the container runtime, CRI v1. One method per RPC that keelson uses. Every call has a deadline
 * of its own (`runtimeRequestTimeout`; pulls end by lack of progress) besides the caller's signal, and fails with a CriError.
 */
export interface RuntimeService {
  version(signal: AbortSignal): Promise<cri.VersionResponse>;
  /** `verbose` adds the runtime's own notes, such as its configuration, as JSON texts in `info`. */
  status(signal: AbortSignal, verbose?: boolean): Promise<cri.StatusResponse>;
  /** UNIMPLEMENTED before containerd 2.0. */
  runtimeConfig(signal: AbortSignal): Promise<cri.RuntimeConfigResponse>;
  runPodSandbox(config: cri.PodSandboxConfig, runtimeHandler: string, signal: AbortSignal): Promise<string>;
  /** Idempotent: a sandbox that is stopped or gone is a success. */
  stopPodSandbox(sandboxId: string, signal: AbortSignal): Promise<void>;
  /** Idempotent; also removes containers left in the sandbox, by force. */
  removePodSandbox(sandboxId: string, signal: AbortSignal): Promise<void>;
  podSandboxStatus(sandboxId: string, signal: AbortSignal): Promise<cri.PodSandboxStatus>;
  listPodSandbox(filter: cri.PodSandboxFilter, signal: AbortSignal): Promise<readonly cri.PodSandbox[]>;
  createContainer(
    sandboxId: string,
    config: cri.ContainerConfig,
    sandboxConfig: cri.PodSandboxConfig,
    signal: AbortSignal,
  ): Promise<string>;
  startContainer(containerId: string, signal: AbortSignal): Promise<void>;
  /** Sends the stop signal, and SIGKILL after `timeoutSeconds`. Idempotent. The deadline is the timeout plus the usual one. */
  stopContainer(containerId: string, timeoutSeconds: number, signal: AbortSignal): Promise<void>;
  /** Idempotent. */
  removeContainer(containerId: string, signal: AbortSignal): Promise<void>;
  listContainers(filter: cri.ContainerFilter, signal: AbortSignal): Promise<readonly cri.Container[]>;
  containerStatus(containerId: string, signal: AbortSignal): Promise<cri.ContainerStatus>;
  /** What running containers use; a runtime may answer from figures that are some seconds old, each with its stamp. */
  listContainerStats(filter: cri.ContainerStatsFilter, signal: AbortSignal): Promise<readonly cri.ContainerStats[]>;
  /** Changes what a created or running container may use. Members that are zero or absent stay as they are. */
  updateContainerResources(containerId: string, linux: cri.LinuxContainerResources, signal: AbortSignal): Promise<void>;
  reopenContainerLog(containerId: string, signal: AbortSignal): Promise<void>;
  execSync(
    containerId: string,
    command: readonly string[],
    timeoutSeconds: number,
    signal: AbortSignal,
  ): Promise<cri.ExecSyncResponse>;
  /**
   * Where the runtime serves a command in a container, its streams, and ports of a sandbox: the URL of a
   * server of its own on this machine, good for one connection within the minute. INVALID_ARGUMENT without
   * any stream, and for a terminal with a stream for errors.
   */
  exec(request: cri.ExecRequest, signal: AbortSignal): Promise<string>;
  attach(request: cri.AttachRequest, signal: AbortSignal): Promise<string>;
  portForward(request: cri.PortForwardRequest, signal: AbortSignal): Promise<string>;
  /** Ends with a CriError of code UNIMPLEMENTED where the runtime has no such stream (containerd 1.6). */
  getContainerEvents(signal: AbortSignal): AsyncIterable<cri.ContainerEventResponse>;
}

export interface ImageService {
  listImages(signal: AbortSignal): Promise<readonly cri.Image[]>;
  /** undefined when the runtime has no such image. */
  imageStatus(image: cri.ImageSpec, signal: AbortSignal): Promise<cri.Image | undefined>;
  /** Resolves with the reference to run: a digest or image id. */
  pullImage(
    image: cri.ImageSpec,
    auth: cri.AuthConfig | undefined,
    sandboxConfig: cri.PodSandboxConfig,
    signal: AbortSignal,
  ): Promise<string>;
  removeImage(image: cri.ImageSpec, signal: AbortSignal): Promise<void>;
  imageFsInfo(signal: AbortSignal): Promise<cri.ImageFsInfoResponse>;
}

/** A failed CRI call: `grpcCode` is the gRPC status ('NOT_FOUND', 'UNAVAILABLE', …), `method` the RPC. */
export class CriError extends AgentError {
  readonly grpcCode: string;
  readonly method: string;
  /** The runtime's own words, without gRPC's framing: what users see in events. */
  readonly details: string;

  constructor(method: string, grpcCode: string, details: string, options: { cause?: unknown; hint?: string } = {}) {
    super(`Cri${grpcCode}`, `${method}: ${details}`, { ...options, retryable: grpcCode === 'UNAVAILABLE' });
    this.method = method;
    this.grpcCode = grpcCode;
    this.details = details;
  }
}

/**
 * A failed call as a Go program prints it, which is what dashboards and runbooks know:
 * `rpc error: code = DeadlineExceeded desc = …`.
 */
export function goRpcError({ grpcCode, details }: CriError): string {
  const words =
    grpcCode === 'CANCELLED' ? ['Canceled'] : grpcCode.split('_').map((w) => w[0] + w.slice(1).toLowerCase());
  return `rpc error: code = ${words.join('')} desc = ${details}`;
}

export const isCriCode = (error: unknown, grpcCode: string): error is CriError =>
  error instanceof CriError && error.grpcCode === grpcCode;

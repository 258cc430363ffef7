import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ContainerStatus, Event, Pod, PodStatus } from '../../src/api/core-v1.ts';
import type { OciImage } from '../../src/lib/oci-image.ts';
import { EVENTS, NODES, PODS } from '../apiserver/kinds.ts';
import type { ApiObject, DraftObject } from '../apiserver/objects.ts';
import { StandInApiServer } from '../apiserver/server.ts';
import { busyboxImage, httpdImage } from '../images/images.ts';
import type { ManagedProcess } from './managed-process.ts';
import { TestHost, type TestHostOptions } from './test-host.ts';

/** The name of the node, and the port at which the host finds the API server on its own loopback. */
export const NODE = 'node-a';
const API_PORT = 6443;

export interface ClusterOptions extends TestHostOptions {
  readonly images?: readonly OciImage[];
  /** Documents to append to keelson's configuration file. */
  readonly config?: string;
  /** Keys to put into the KubeletConfiguration, as YAML lines. */
  readonly kubelet?: string;
  /** More of the kubelet's `authentication`, as ', anonymous: {enabled: true}'; client certificates are the API server's. */
  readonly authentication?: string;
  readonly api?: Parameters<typeof StandInApiServer.start>[0];
}

export interface LaunchOptions {
  /** Through bin/keelson and the bundle, with the flags of an installation, instead of from the sources. */
  readonly installed?: boolean;
}

const LAUNCHER = fileURLToPath(new URL('../../bin/keelson', import.meta.url));

/** One test host with containerd, a stand-in API server in the test's process, and keelson in between. */
export class Cluster implements AsyncDisposable {
  readonly host: TestHost;
  readonly api: StandInApiServer;
  #keelson: ManagedProcess | undefined;

  private constructor(host: TestHost, api: StandInApiServer) {
    this.host = host;
    this.api = api;
  }

  /** Everything but keelson itself. */
  static async create(name: string, options: ClusterOptions = {}): Promise<Cluster> {
    const images = options.images ?? [busyboxImage(), httpdImage()];
    const host = await TestHost.boot(name, { ...options, images });
    const api = await StandInApiServer.start({
      nodePodCidrs: { [NODE]: host.podCidr },
      dialNode: (address, port) => host.connect(port, address),
      ...options.api,
    });
    const cluster = new Cluster(host, api);
    try {
      const listener = await host.listen(API_PORT);
      listener.on('connection', (inside) => {
        const outside = connect(api.port, '127.0.0.1');
        inside.on('error', () => outside.destroy()).on('close', () => outside.destroy());
        outside.on('error', () => inside.destroy()).on('close', () => inside.destroy());
        inside.pipe(outside).pipe(inside);
      });
      await host.writeFile('/etc/keelson/config.yaml', configFile(options));
      const url = `https://127.0.0.1:${API_PORT}`;
      await host.writeFile('/etc/kubernetes/pki/ca.crt', api.pki.ca);
      const folder = host.path('/etc/kubernetes');
      api.kubeconfigFor(`system:node:${NODE}`, { groups: ['system:nodes'], url }, join(folder, 'kubelet.conf'));
      api.kubeconfigFor('system:kube-proxy', { url }, join(folder, 'proxy.conf'));
      api.kubeconfigFor('admin', { groups: ['system:masters'], url }, join(folder, 'admin.conf'));
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** And keelson, up to a node that is Ready. */
  static async boot(name: string, options: ClusterOptions = {}): Promise<Cluster> {
    const cluster = await Cluster.create(name, options);
    try {
      await cluster.startKeelson();
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  get keelson(): ManagedProcess {
    if (!this.#keelson) throw new Error('keelson was not started');
    return this.#keelson;
  }

  /** Resolves when the node is Ready. */
  async startKeelson(args: readonly string[] = [], launch: LaunchOptions = {}): Promise<void> {
    this.launchKeelson(args, launch);
    // A node that was Ready before says nothing of the process that was started now.
    await this.keelson.waitForLog(/keelson runs/);
    await this.whenNodeReady();
  }

  launchKeelson(args: readonly string[] = [], { installed = false }: LaunchOptions = {}): void {
    const all = [
      '--config=/etc/keelson/config.yaml',
      '--kubeconfig=/etc/kubernetes/kubelet.conf',
      `--hostname-override=${NODE}`,
      '--pod-manifest-path=/etc/kubernetes/manifests',
      '--v=4',
      ...args,
    ];
    this.#keelson = installed ? this.host.spawn('keelson', [LAUNCHER, 'run', ...all]) : this.host.startKeelson(all);
  }

  async whenNodeReady(timeoutMs = 60_000): Promise<void> {
    await this.#until(
      this.api.until(
        NODES,
        undefined,
        NODE,
        (node) => condition(node, 'Ready') === 'True',
        AbortSignal.timeout(timeoutMs),
      ),
      'the node is Ready',
    );
  }

  /** Creates a pod bound to the node. */
  createPod(name: string, spec: Partial<Pod['spec']>, metadata: Partial<Pod['metadata']> = {}): ApiObject {
    const manifest = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, ...metadata },
      spec: { nodeName: NODE, containers: [], terminationGracePeriodSeconds: 1, ...spec },
    };
    return this.api.create(manifest as unknown as DraftObject);
  }

  /** The pod's status as soon as `holds` is true of it. */
  async whenPod(
    name: string,
    holds: (status: PodStatus, pod: Pod) => boolean,
    options: { readonly namespace?: string; readonly timeoutMs?: number } = {},
  ): Promise<Pod> {
    const signal = AbortSignal.timeout(options.timeoutMs ?? 60_000);
    const namespace = options.namespace ?? 'default';
    const matches = (object: ApiObject | undefined) => {
      const pod = object as unknown as Pod | undefined;
      return pod !== undefined && holds(pod.status ?? {}, pod);
    };
    const found = await this.#until(this.api.until(PODS, namespace, name, matches, signal), `pod ${name}: ${holds}`);
    return found as unknown as Pod;
  }

  async whenPodReady(name: string, timeoutMs?: number): Promise<Pod> {
    return this.whenPod(name, isReady, timeoutMs === undefined ? {} : { timeoutMs });
  }

  async whenPodGone(name: string, timeoutMs = 60_000): Promise<void> {
    const signal = AbortSignal.timeout(timeoutMs);
    await this.#until(
      this.api.until(PODS, 'default', name, (pod) => pod === undefined, signal),
      `pod ${name} is gone`,
    );
  }

  /** What was told about the object of this name, at any time. */
  events(name: string): readonly Event[] {
    return (this.api.store.list(EVENTS) as unknown as readonly Event[]).filter((e) => e.involvedObject.name === name);
  }

  /**
   * The first event about the object that matches: by its reason, by a pattern for `Reason: message`, or as the
   * function says. Events follow what they tell about: they are waited for.
   */
  async whenEvent(
    name: string,
    what: string | RegExp | ((event: Event) => boolean),
    timeoutMs = 30_000,
  ): Promise<Event> {
    const matches = (event: Event) => {
      if (typeof what === 'string') return event.reason === what;
      return what instanceof RegExp ? what.test(`${event.reason}: ${event.message}`) : what(event);
    };
    const found = () => this.events(name).find(matches);
    const { promise, resolve } = Promise.withResolvers<void>();
    using _ = this.api.store.subscribe(() => found() && resolve());
    if (!found()) await Promise.race([promise, once(AbortSignal.timeout(timeoutMs), 'abort')]);
    const event = found();
    if (event) return event;
    const told = this.events(name).map((e) => `${e.reason}: ${e.message}`);
    throw new Error(`no event ${what} of ${name}; told was:\n${told.join('\n')}`);
  }

  /** kubectl as the administrator, on the host. */
  kubectl(...args: readonly string[]): Promise<string> {
    return this.host.exec('kubectl', ['--kubeconfig=/etc/kubernetes/admin.conf', '--cache-dir=/tmp/kubectl', ...args]);
  }

  pod(name: string, namespace = 'default'): Pod | undefined {
    return this.api.store.get(PODS, namespace, name) as unknown as Pod | undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.host[Symbol.asyncDispose]();
    await this.api.stop();
  }

  /** A wait that fails shows what keelson said last. */
  async #until<T>(wait: Promise<T>, what: string): Promise<T> {
    try {
      return await wait;
    } catch (cause) {
      const said = this.#keelson?.lines.slice(-60).join('\n') ?? '';
      throw new Error(`waited in vain until ${what}\n${said}`, { cause });
    }
  }
}

export const isReady = (status: PodStatus): boolean =>
  status.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') === true;

export const containerOf = (pod: Pod, name: string): ContainerStatus | undefined =>
  pod.status?.containerStatuses?.find((s) => s.name === name);

function condition(object: ApiObject | undefined, type: string): string | undefined {
  const status = object?.['status'] as { conditions?: readonly { type: string; status: string }[] } | undefined;
  return status?.conditions?.find((c) => c.type === type)?.status;
}

function configFile(options: ClusterOptions): string {
  return `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
cgroupRoot: /
authentication: {x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}${options.authentication ?? ''}}
${options.kubelet ?? ''}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: /etc/kubernetes/proxy.conf}
clusterCIDR: 10.244.0.0/16
${options.config ?? ''}`;
}

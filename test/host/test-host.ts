import { execFile, spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import type { Server, Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type CriClient, createCriClient } from '../../src/cri/cri-client.ts';
import { CriError } from '../../src/cri/services.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLog } from '../../src/lib/log.ts';
import { imageArchive, type OciImage } from '../../src/lib/oci-image.ts';
import { PAUSE_IMAGE, pauseImage } from '../images/images.ts';
import { cleanUpDeadRuns, hierarchies, hostFolder, hostName, removeHost } from './cleanup.ts';
import { bridgeCniConfig, containerdConfig, plainHttpRegistry } from './containerd-config.ts';
import { ManagedProcess } from './managed-process.ts';
import { NamespaceDialer } from './namespace-dialer.ts';
import { createNamespaces, insideCommand, type Namespaces } from './namespaces.ts';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const SOCKET = '/run/containerd/containerd.sock';

export interface TestHostOptions {
  readonly podCidr?: string;
  /** The address of eth0, in a /24. */
  readonly nodeIp?: string;
  readonly sandboxImage?: string;
  /** Registries to speak plain HTTP to, as 'registry.test:5000'; the names resolve to 127.0.0.1 inside. */
  readonly registries?: readonly string[];
  /** More TOML for containerd's configuration. */
  readonly containerdConfig?: string;
  /** Plugins that containerd is to go without. */
  readonly disabledPlugins?: readonly string[];
}

export interface ExecOptions {
  readonly input?: string | Buffer;
  readonly timeoutMs?: number;
}

let janitor: Promise<void> | undefined;

/**
 * A machine for a test: network, mount, process, host name and cgroup namespaces of its own, in which
 * containerd and keelson find the paths of a fresh Debian machine (/run, /etc/cni, /var/lib/kubelet, …
 * are private; /sys/fs/cgroup shows a subtree of the machine's as if it were all). eth0 has the node's
 * address and leads nowhere until `connectHosts`.
 *
 * `await using host = await TestHost.create('name')`; the end of the scope kills and removes everything.
 */
export class TestHost {
  /** Unique on the machine; `name` of `create` is the host name inside. */
  readonly id: string;
  readonly name: string;
  readonly folder: string;
  readonly podCidr: string;
  readonly nodeIp: string;
  /** As keelson's configuration wants it; the namespace makes it this host's own. */
  readonly cgroupRoot = '/';
  /** As seen inside. */
  readonly criEndpoint = `unix://${SOCKET}`;
  readonly #namespaces: Namespaces;
  #containerd: ManagedProcess | undefined;
  #cri: CriClient | undefined;
  readonly #dialer: NamespaceDialer;
  #servers: Server[] = [];
  #starts = 0;
  #disposed: Promise<void> | undefined;

  private constructor(name: string, id: string, namespaces: Namespaces, options: TestHostOptions) {
    this.name = name;
    this.id = id;
    this.folder = hostFolder(id);
    this.podCidr = options.podCidr ?? '10.244.1.0/24';
    this.nodeIp = options.nodeIp ?? '192.0.2.2';
    this.#namespaces = namespaces;
    this.#dialer = new NamespaceDialer(namespaces.pid);
  }

  /** A host with its network up and containerd configured, but not started. Needs root. */
  static async create(name: string, options: TestHostOptions = {}): Promise<TestHost> {
    janitor ??= cleanUpDeadRuns();
    await janitor;
    const id = hostName(name);
    const folder = hostFolder(id);
    try {
      await writeFiles(folder, hostFiles(name, options));
      const namespaces = await createNamespaces({ name: id, folder, hostname: name, hierarchies: hierarchies() });
      const host = new TestHost(name, id, namespaces, options);
      try {
        // A cable whose other end is plugged in nowhere.
        await host.ip('link add eth0 type veth peer name unplugged');
        await host.ip('link set unplugged up');
        await host.setUpEth0();
        return host;
      } catch (error) {
        await host[Symbol.asyncDispose]();
        throw error;
      }
    } catch (error) {
      await removeHost(id);
      throw error;
    }
  }

  /** A host with containerd running and the pause image and `images` in it. */
  static async boot(name: string, options: TestHostOptions & { images?: readonly OciImage[] } = {}): Promise<TestHost> {
    const host = await TestHost.create(name, options);
    try {
      await host.startContainerd();
      await host.importImages([pauseImage(options.sandboxImage ?? PAUSE_IMAGE), ...(options.images ?? [])]);
      return host;
    } catch (error) {
      await host[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The number of the host's first process, as the machine sees it; for `nsenter --target`. */
  get pid(): number {
    return this.#namespaces.pid;
  }

  /** Where the test process finds a path of the host, with what is mounted inside. Only while the host lives. */
  path(inside: string): string {
    return join('/proc', `${this.pid}`, 'root', inside);
  }

  /** Runs a command to its end inside; rejects with what it printed when it fails. */
  exec(command: string, args: readonly string[] = [], options: ExecOptions = {}): Promise<string> {
    return run(insideCommand(this.pid, [command, ...args]), options);
  }

  /** The body of an HTTP answer, asked for from inside; tries again until there is one or the time is over. */
  get(url: string, timeoutMs = 10_000): Promise<string> {
    const script = fileURLToPath(new URL('http-get.ts', import.meta.url));
    return run(insideCommand(this.pid, [process.execPath, script, url, `${timeoutMs}`], 'network'));
  }

  /** Starts a daemon inside. It ends with the host. */
  spawn(name: string, command: readonly string[], env: Readonly<Record<string, string>> = {}): ManagedProcess {
    return new ManagedProcess(name, insideCommand(this.pid, command), {
      env: { ...process.env, ...env },
      cwd: PROJECT,
    });
  }

  /** `ip <command>` in the host's network, with the machine's view of process numbers. */
  async ip(command: string): Promise<string> {
    return run(insideCommand(this.pid, ['ip', ...command.split(' ')], 'network'));
  }

  /** Gives eth0 the node's address, and makes it the way to everywhere. */
  async setUpEth0(): Promise<void> {
    await this.ip(`address add ${this.nodeIp}/24 dev eth0`);
    await this.ip('link set eth0 up');
    await this.ip('route add default dev eth0');
  }

  /**
   * A socket that listens inside while its connections arrive in the test process: pass it to
   * `httpServer.listen(socket)`, or `on('connection')`. Closed with the host at the latest.
   */
  async listen(port = 0, address = '127.0.0.1'): Promise<Server> {
    const script = fileURLToPath(new URL('listen-in-namespace.ts', import.meta.url));
    const command = insideCommand(this.pid, [process.execPath, script, `${port}`, address], 'network');
    const [file = '', ...args] = command;
    const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    let printed = '';
    child.stderr?.on('data', (data: Buffer) => {
      printed += data;
    });
    const server = await new Promise<Server>((resolve, reject) => {
      child.once('message', (_message, handle) => resolve(handle as Server));
      child.once('exit', () => reject(new Error(`${this.name}: ${printed}`)));
    });
    this.#servers.push(server);
    return server;
  }

  /** A connection to a port inside, by default one of its own loopback; its data are the test process's to read. */
  connect(port: number, address = '127.0.0.1'): Promise<Socket> {
    return this.#dialer.connect(port, address);
  }

  /** Lines of containerd's log, of its last start. */
  get containerdLog(): readonly string[] {
    return this.#containerd?.lines ?? [];
  }

  /** Resolves when CRI answers. */
  async startContainerd(): Promise<void> {
    if (this.#containerd?.running) return;
    this.#starts++;
    this.#containerd = this.spawn(`${this.name}: containerd (start ${this.#starts})`, ['containerd']);
    await this.#containerd.waitForLog(/containerd successfully booted/);
    await eventually(() => this.cri().runtime.version(AbortSignal.timeout(5000)), isUnavailable);
  }

  /** Like systemd's stop: containers go on. */
  async stopContainerd(): Promise<void> {
    await this.#containerd?.kill('SIGTERM');
  }

  async killContainerd(): Promise<void> {
    await this.#containerd?.kill('SIGKILL');
  }

  async restartContainerd(): Promise<void> {
    await this.stopContainerd();
    await this.startContainerd();
  }

  /** Resolves when CRI lists them. */
  async importImages(images: readonly OciImage[]): Promise<void> {
    await this.exec('ctr', ['-n', 'k8s.io', 'images', 'import', '-'], { input: imageArchive(images) });
    for (const { name } of images) {
      // The CRI plugin hears of an import by an event.
      await eventually(
        async () => {
          if (!(await this.cri().images.imageStatus({ image: name }, AbortSignal.timeout(5000)))) throw new NotYet();
        },
        (error) => error instanceof NotYet,
      );
    }
  }

  /** A CRI client of the test's own; one for the host's life. */
  cri(): CriClient {
    this.#cri ??= createCriClient({
      endpoint: `unix://${join(this.folder, SOCKET)}`,
      requestTimeoutMs: 30_000,
      clock: systemClock,
      log: silentLog,
    });
    return this.#cri;
  }

  /** A bridge network for tests without keelson. Resolves when the runtime has taken it up. */
  async configureNetwork(): Promise<void> {
    await this.writeFile('/etc/cni/net.d/10-test.conflist', bridgeCniConfig(this.podCidr));
    await eventually(
      async () => {
        const { status } = await this.cri().runtime.status(AbortSignal.timeout(5000));
        if (!status?.conditions?.find(({ type }) => type === 'NetworkReady')?.status) throw new NotYet();
      },
      (error) => error instanceof NotYet,
    );
  }

  /** `keelson run <args>` from the sources, inside. */
  startKeelson(args: readonly string[] = [], env: Readonly<Record<string, string>> = {}): ManagedProcess {
    const main = join(PROJECT, 'src/main.ts');
    return this.spawn(`${this.name}: keelson`, [process.execPath, main, 'run', ...args], env);
  }

  /** Writes a file at a path inside, with its folders. */
  async writeFile(path: string, content: string | Buffer): Promise<void> {
    const outside = this.path(path);
    await mkdir(dirname(outside), { recursive: true });
    await writeFile(outside, content);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#dispose();
    return this.#disposed;
  }

  async #dispose(): Promise<void> {
    this.#cri?.close();
    this.#dialer[Symbol.dispose]();
    for (const server of this.#servers) server.close();
    await this.#namespaces.end();
    await removeHost(this.id);
  }
}

/** Joins two hosts by a cable at their eth0, with routes to each other's pods. Before anything uses the network. */
export async function connectHosts(a: TestHost, b: TestHost): Promise<void> {
  for (const host of [a, b]) await host.ip('link delete eth0');
  await a.ip(`link add eth0 type veth peer name eth0 netns ${b.pid}`);
  for (const host of [a, b]) await host.setUpEth0();
  await a.ip(`route add ${b.podCidr} via ${b.nodeIp}`);
  await b.ip(`route add ${a.podCidr} via ${a.nodeIp}`);
}

function hostFiles(name: string, options: TestHostOptions): Record<string, string> {
  const registries = options.registries ?? [];
  const names = registries.map((registry) => registry.replace(/:\d+$/, ''));
  const config = {
    sandboxImage: options.sandboxImage ?? PAUSE_IMAGE,
    disabledPlugins: options.disabledPlugins ?? [],
    ...(options.containerdConfig !== undefined && { extra: options.containerdConfig }),
  };
  return {
    'upper/etc/hosts': `127.0.0.1 localhost ${names.join(' ')}\n127.0.1.1 ${name}\n`,
    // Nothing answers there, and at once: a look-up fails without waiting.
    'upper/etc/resolv.conf': 'nameserver 127.0.0.1\nsearch test\n',
    'etc/containerd/config.toml': containerdConfig(config),
    ...Object.fromEntries(
      registries.map((registry) => [`etc/containerd/certs.d/${registry}/hosts.toml`, plainHttpRegistry(registry)]),
    ),
  };
}

async function writeFiles(folder: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), content);
  }
}

class NotYet extends Error {}

const isUnavailable = (error: unknown) => error instanceof CriError && error.retryable;

/** For the few things that give no sign when they happen. The call bounds itself; so does the number of tries. */
async function eventually(attempt: () => Promise<unknown>, notYet: (error: unknown) => boolean): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await attempt();
      return;
    } catch (error) {
      if (!notYet(error) || tries === 400) throw error;
      await delay(25);
    }
  }
}

function run(command: readonly string[], options: ExecOptions = {}): Promise<string> {
  const [file = '', ...args] = command;
  return new Promise((resolve, reject) => {
    const limits = { timeout: options.timeoutMs ?? 60_000, maxBuffer: 64 * 1024 * 1024 };
    const child = execFile(file, args, limits, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout);
      const shown = command.slice(command.lastIndexOf('join') + 1).join(' ');
      reject(new Error(`${shown}: ${stderr.trim() || stdout.trim() || error.message}`, { cause: error }));
    });
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.input);
  });
}

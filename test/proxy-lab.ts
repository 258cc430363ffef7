import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import type { Exec } from '../src/host/exec.ts';
import { hostExec } from '../src/host/exec.ts';
import type { Follow } from '../src/host/follow-program.ts';
import { followProgram } from '../src/host/follow-program.ts';

const run = promisify(execFile);

/** A node and its surroundings as network namespaces: pods on a bridge, and one host outside. */
export const bridgeIp = '10.244.0.1';
export const nodeIp = '192.0.2.1';
export const outsideIp = '192.0.2.2';
/** The same by IPv6. */
export const bridgeIp6 = 'fd00:10:244::1';
export const nodeIp6 = 'fd00:c::1';
export const outsideIp6 = 'fd00:c::2';
/** Every agent answers here with its name and the client's address. */
export const tcpPort = 8080;
export const udpPort = 8053;

export interface Answer {
  /** Name of the agent that answered. */
  readonly from?: string;
  /** The client's address as the server saw it. */
  readonly seen?: string;
  /** ECONNREFUSED, TIMEOUT, … */
  readonly error?: string;
}

let labs = 0;

export class Lab {
  readonly #prefix = `kpx${process.pid}-${labs++}`;
  readonly #agents: Agent[] = [];
  readonly #namespaces: string[] = [];

  /** Needs root. On failure everything made so far is removed. */
  static async create(): Promise<Lab> {
    const lab = new Lab();
    try {
      await lab.#build();
      return lab;
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  get hostNamespace(): string {
    return `${this.#prefix}-node`;
  }

  /** Programs of the node's namespace. */
  get exec(): Exec {
    return {
      run: (file, args, options) => hostExec.run('ip', ['netns', 'exec', this.hostNamespace, file, ...args], options),
    };
  }

  /** Programs of the node's namespace that run for long. */
  get follow(): Follow {
    return (file, args, options) => followProgram('ip', ['netns', 'exec', this.hostNamespace, file, ...args], options);
  }

  host(): Promise<Agent> {
    return this.#agent('node', this.hostNamespace);
  }

  outside(): Promise<Agent> {
    return this.#agent('outside', `${this.#prefix}-out`);
  }

  /** A namespace that nothing is in yet; returns its full name. */
  async namespace(name: string): Promise<string> {
    const full = `${this.#prefix}-${name}`;
    await run('ip', ['netns', 'add', full]);
    this.#namespaces.push(full);
    await this.#in(full, 'ip link set lo up');
    // Until its own link-local address has passed this check, a node asks for no neighbour, and packets that it forwards
    // are lost for seconds.
    await this.#in(full, 'sysctl -q -w net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0');
    return full;
  }

  async pod(name: string, ip: string, ip6?: string): Promise<Agent> {
    const ns = await this.namespace(name);
    await this.#in(this.hostNamespace, `ip link add v-${name} type veth peer name eth0 netns ${ns}`);
    await this.#in(this.hostNamespace, `ip link set v-${name} master br0 up`);
    await this.#in(this.hostNamespace, `bridge link set dev v-${name} hairpin on`);
    await this.#in(ns, `ip addr add ${ip}/24 dev eth0`);
    await this.#in(ns, 'ip link set eth0 up');
    await this.#in(ns, `ip route add default via ${bridgeIp}`);
    if (ip6 !== undefined) {
      await this.#in(ns, `ip addr add ${ip6}/64 dev eth0 nodad`);
      await this.#in(ns, `ip -6 route add default via ${bridgeIp6}`);
    }
    return this.#agent(name, ns);
  }

  /** Runs a command line (split at blanks) on the node; returns stdout. */
  node(command: string): Promise<string> {
    return this.#in(this.hostNamespace, command);
  }

  /** An agent in a namespace that somebody else has wired. */
  agentIn(name: string, namespace: string): Promise<Agent> {
    return this.#agent(name, namespace);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#agents.map((agent) => agent.stop()));
    for (const ns of this.#namespaces.reverse()) await run('ip', ['netns', 'del', ns]).catch(() => {});
  }

  async #build(): Promise<void> {
    const node = await this.namespace('node');
    const out = await this.namespace('out');
    await this.#in(node, `ip link add up0 type veth peer name eth0 netns ${out}`);
    await this.#in(node, `ip addr add ${nodeIp}/24 dev up0`);
    await this.#in(node, 'ip link set up0 up');
    await this.#in(out, `ip addr add ${outsideIp}/24 dev eth0`);
    await this.#in(out, 'ip link set eth0 up');
    await this.#in(out, `ip route add default via ${nodeIp}`);
    // Virtual addresses need some route, as they have on any host with a default one.
    await this.#in(node, 'ip link add void0 type veth peer name void1');
    await this.#in(node, 'ip link set void0 up');
    await this.#in(node, 'ip link set void1 up');
    await this.#in(node, 'ip route add default dev void0');
    await this.#in(node, 'ip link add br0 type bridge');
    await this.#in(node, `ip addr add ${bridgeIp}/24 dev br0`);
    await this.#in(node, 'ip link set br0 up');
    await this.#in(node, 'sysctl -q -w net.ipv4.ip_forward=1');
    // Refusals are ICMP, of which a host sends one a second to each address once it has sent a few.
    await this.#in(node, 'sysctl -q -w net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0');
    await this.#in(node, `ip addr add ${nodeIp6}/64 dev up0 nodad`);
    await this.#in(out, `ip addr add ${outsideIp6}/64 dev eth0 nodad`);
    await this.#in(out, `ip -6 route add default via ${nodeIp6}`);
    await this.#in(node, 'ip -6 route add default dev void0');
    await this.#in(node, `ip addr add ${bridgeIp6}/64 dev br0 nodad`);
    await this.#in(node, 'sysctl -q -w net.ipv6.conf.all.forwarding=1');
  }

  async #agent(name: string, ns: string): Promise<Agent> {
    const agent = await Agent.start(name, ns);
    this.#agents.push(agent);
    return agent;
  }

  async #in(ns: string, command: string): Promise<string> {
    const { stdout } = await run('ip', ['netns', 'exec', ns, ...command.split(' ')]);
    return stdout;
  }
}

/** A process in one namespace that answers on both ports and connects where it is told to. */
export class Agent {
  readonly name: string;
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #next = 0;

  private constructor(name: string, process: ChildProcessWithoutNullStreams) {
    this.name = name;
    this.#process = process;
  }

  static async start(name: string, ns: string): Promise<Agent> {
    // As this process is run itself: under emulation Node must have no other threads.
    const flags = process.execArgv.filter((flag) => flag === '--single-threaded');
    const child = spawn('ip', ['netns', 'exec', ns, process.execPath, ...flags, '-e', agentSource, name]);
    child.stderr.pipe(process.stderr);
    const agent = new Agent(name, child);
    const ready = Promise.withResolvers<void>();
    child.once('exit', () => ready.reject(new Error(`agent ${name} ended`)));
    createInterface({ input: child.stdout }).on('line', (line) => {
      const message = JSON.parse(line) as Answer & { id?: number };
      if (message.id === undefined) return ready.resolve();
      agent.#waiting.get(message.id)?.(message);
      agent.#waiting.delete(message.id);
    });
    ready.promise.catch(() => {});
    await ready.promise;
    return agent;
  }

  /** One connection (or datagram and its answer). `localPort` keeps several datagrams one flow. */
  ask(protocol: 'tcp' | 'udp', ip: string, port: number, localPort?: number, timeoutMs = 3_000): Promise<Answer> {
    const id = this.#next++;
    const answer = new Promise<Answer>((resolve) => this.#waiting.set(id, resolve));
    this.#process.stdin.write(`${JSON.stringify({ id, protocol, ip, port, localPort, timeoutMs })}\n`);
    return answer;
  }

  /** The names that answered `count` connections. */
  async spread(protocol: 'tcp' | 'udp', ip: string, port: number, count: number): Promise<ReadonlySet<string>> {
    const answers = await Promise.all(Array.from({ length: count }, () => this.ask(protocol, ip, port)));
    return new Set(answers.map((answer) => answer.from ?? answer.error ?? ''));
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null) return;
    const gone = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.stdin.end();
    await gone;
  }
}

const agentSource = `
const net = require('node:net'), dgram = require('node:dgram');
const name = process.argv[1];
const say = (o) => process.stdout.write(JSON.stringify(o) + '\\n');
const text = (address) => JSON.stringify({ from: name, seen: address });
const plain = (address) => address.replace(/^::ffff:/, '');
const server = net.createServer((s) => { s.on('error', () => {}); s.end(text(plain(s.remoteAddress))); });
const udps = ['udp4', 'udp6'].map((type) => {
  const udp = dgram.createSocket({ type, ipv6Only: type === 'udp6' });
  udp.on('message', (_, r) => udp.send(text(r.address), r.port, r.address));
  udp.on('error', () => {});
  return udp;
});
function tcp({ id, ip, port, timeoutMs }) {
  let body = '', done = false;
  const end = (o) => { if (done) return; done = true; s.destroy(); say({ id, ...o }); };
  const s = net.connect({ host: ip, port });
  s.setTimeout(timeoutMs, () => end({ error: 'TIMEOUT' }));
  s.on('data', (d) => { body += d; });
  s.on('end', () => end(JSON.parse(body)));
  s.on('error', (e) => end({ error: e.code }));
}
function datagram({ id, ip, port, localPort, timeoutMs }) {
  const s = dgram.createSocket({ type: ip.includes(':') ? 'udp6' : 'udp4' });
  let done = false;
  const end = (o) => { if (done) return; done = true; clearTimeout(t); s.close(); say({ id, ...o }); };
  const t = setTimeout(() => end({ error: 'TIMEOUT' }), timeoutMs);
  s.on('message', (m) => end(JSON.parse(m)));
  s.on('error', (e) => end({ error: e.code }));
  s.bind(localPort ?? 0, () => s.connect(port, ip, () => s.send('x')));
}
server.listen(${tcpPort}, '::', () => udps[0].bind(${udpPort}, () => udps[1].bind(${udpPort}, () => say({}))));
require('node:readline').createInterface({ input: process.stdin })
  .on('line', (l) => { const q = JSON.parse(l); q.protocol === 'tcp' ? tcp(q) : datagram(q); })
  .on('close', () => process.exit(0));
`;

import type { Exec, ExecOptions, ExecResult } from '../../host/exec.ts';
import { ExecError, notFound } from '../../host/exec.ts';
import { FakeRules } from './fake-rules.ts';

interface FakeServer {
  options: string;
  readonly endpoints: Map<string, { weight: number; connections: number }>;
}

interface FakeLink {
  alias: string | undefined;
  readonly addresses: Set<string>;
}

/**
 * A model of the kernel as ipvsadm, ip, ipset, iptables and sysctl show and change it, as far as the IPVS mode uses
 * them: refuses what they refuse, goes on where they go on, and prints as they print. Both address families.
 */
export class FakeIpvs implements Pick<Exec, 'run'> {
  readonly servers = new Map<string, FakeServer>();
  readonly links = new Map<string, FakeLink>();
  readonly sets = new Map<string, { readonly type: string; readonly elements: Map<string, string> }>();
  readonly rules = { IPv4: new FakeRules(), IPv6: new FakeRules() };
  readonly sysctls = new Map<string, string>([
    ...([
      ['kernel.osrelease', '6.1.0-56-amd64'],
      ['net.ipv4.ip_forward', '0'],
      ['net.ipv4.vs.conntrack', '0'],
    ] as const),
    ...([
      ['net.ipv4.vs.expire_nodest_conn', '0'],
      ['net.ipv4.vs.expire_quiescent_template', '0'],
    ] as const),
    ...([
      ['net.ipv4.conf.all.arp_ignore', '0'],
      ['net.ipv4.conf.all.arp_announce', '0'],
    ] as const),
  ]);
  timeouts: readonly number[] = [900, 120, 300];
  /** Runs that were to change something, as `ipvsadm -R`. */
  readonly written: string[] = [];
  /** Schedulers of the kernel. */
  readonly schedulers = new Set(['rr', 'wrr', 'lc', 'wlc', 'sh', 'dh', 'mh', 'sed', 'nq', 'lblc', 'lblcr']);
  #failure: { readonly stderr: string; readonly applies: boolean; skip: number } | undefined;
  #linesLeft = Infinity;

  constructor(hostAddresses: readonly string[] = ['192.0.2.1', 'fd00:c::1']) {
    this.links.set('lo', { alias: undefined, addresses: new Set(['127.0.0.1', '::1']) });
    this.links.set('eth0', { alias: undefined, addresses: new Set(hostAddresses) });
  }

  /** Of the runs that change something, the next but `skip` fails; `applies`: only after it has done its work. */
  failNext(stderr: string, applies: boolean, skip = 0): void {
    this.#failure = { stderr, applies, skip };
  }

  /** Refuses all that would change something, once so many lines of input were taken, until `revive`. */
  stopAfter(lines: number): void {
    this.#linesLeft = lines;
  }

  revive(): void {
    this.#linesLeft = Infinity;
    this.#failure = undefined;
  }

  async run(file: string, args: readonly string[], options: ExecOptions): Promise<ExecResult> {
    options.signal.throwIfAborted();
    // A host whose iptables has no variants.
    if (/-(nft|legacy)-/.test(file)) throw notFound(file);
    const input = options.input ?? '';
    const command = [file, ...args].join(' ');
    const stdout = this.#show(file, command);
    if (stdout !== undefined) return { stdout, stderr: '' };
    this.written.push(command);
    const failure = this.#failure;
    const fails = failure !== undefined && failure.skip-- === 0;
    if (fails) this.#failure = undefined;
    if (fails && !failure.applies) throw failed(file, failure.stderr);
    const lines = input.trimEnd().split('\n');
    const taken = lines.slice(0, this.#linesLeft);
    this.#linesLeft -= taken.length;
    const stderr = taken.length > 0 ? this.#change(file, args, taken.join('\n')) : '';
    if (taken.length < lines.length) throw failed(file, 'killed');
    if (fails) throw failed(file, failure.stderr);
    return { stdout: '', stderr };
  }

  #show(file: string, command: string): string | undefined {
    switch (command) {
      case 'ipvsadm -Sn':
        return [...this.servers].map(([key, server]) => savedServer(key, server)).join('');
      case 'ipvsadm -Ln':
        return [...this.servers].map(([key, server]) => listedServer(key, server)).join('');
      case 'ipvsadm -L --timeout':
        return `Timeout (tcp tcpfin udp): ${this.timeouts.join(' ')}\n`;
      case 'ip -d -j addr show':
        return JSON.stringify([...this.links].map(([ifname, link]) => shownLink(ifname, link)));
      case 'ipset save':
        return [...this.sets]
          .map(([name, { type, elements }]) =>
            [
              `create ${name} ${type}`,
              ...[...elements].map(([element, more]) => `add ${name} ${element}${more}`),
              '',
            ].join('\n'),
          )
          .join('');
      case 'ipset list -n':
        return [...this.sets.keys()].map((name) => `${name}\n`).join('');
      case 'iptables-save -t mangle':
      case 'iptables-save':
        return this.rules.IPv4.save();
      case 'ip6tables-save':
        return this.rules.IPv6.save();
      case 'conntrack -L -f ipv4 -p udp':
      case 'conntrack -L -f ipv6 -p udp':
        return '';
      default:
        if (file !== 'sysctl' || command.includes(' -w ')) return undefined;
        return command
          .split(' ')
          .filter((name) => this.sysctls.has(name))
          .map((name) => `${name} = ${this.sysctls.get(name)}\n`)
          .join('');
    }
  }

  /** Returns what the program says on stderr although it ends well. */
  #change(file: string, args: readonly string[], input: string): string {
    const lines = input.split('\n').filter((line) => line !== '');
    switch (`${file} ${args[0] ?? ''}`) {
      case 'ipvsadm -R':
        return lines.map((line) => this.#ipvsadm(line)).join('');
      case 'ipvsadm -A':
      case 'ipvsadm -D': {
        const refusal = this.#ipvsadm(args.join(' '));
        if (refusal !== '') throw failed(file, refusal);
        return '';
      }
      case 'ipvsadm --set':
        this.timeouts = this.timeouts.map((old, i) => Number(args[i + 1]) || old);
        return '';
      case 'ip -force':
        this.#batch(lines, true);
        return '';
      case 'ip -batch':
        this.#batch(lines, false);
        return '';
      case 'ip link':
        this.#ip(args.join(' '));
        return '';
      case 'ipset -exist':
      case 'ipset restore':
        for (const line of lines) this.#ipset(line);
        return '';
      case 'iptables-restore -w':
        this.#restore('IPv4', input);
        return '';
      case 'ip6tables-restore -w':
        this.#restore('IPv6', input);
        return '';
      case 'sysctl -q':
        for (const [name = '', value = ''] of args.slice(2).map((one) => one.split('='))) this.sysctls.set(name, value);
        return '';
      default:
        throw failed(file, `the fake does not know: ${file} ${args.join(' ')}`);
    }
  }

  #ipvsadm(line: string): string {
    const [, verb = '', key = '', rest = ''] =
      /^-([AEDaed]) ((?:-f \d+(?: -6)?)|(?:-t|-u|--sctp-service) \S+) ?(.*)$/.exec(line) ?? [];
    const server = this.servers.get(key);
    if (verb === 'A' || verb === 'E') return this.#putServer(verb, key, rest);
    if (!server) return verb === '' ? `unexpected: ${line}\n` : 'Service not defined\n';
    if (verb === 'D') this.servers.delete(key);
    const [, endpoint = '', weight] = /^-r (\S+)(?: -m -w (\d+))?$/.exec(rest) ?? [];
    // A line that makes no sense ends the program, and with it all that was to come.
    if (verb !== 'D' && endpoint.includes('[') !== /\[|-6$/.test(key))
      throw failed('ipvsadm', 'Different address family');
    const known = server.endpoints.get(endpoint);
    if (verb === 'a' && known) return 'Destination already exists\n';
    if ((verb === 'e' || verb === 'd') && !known) return 'No such destination\n';
    if (verb === 'a') server.endpoints.set(endpoint, { weight: Number(weight), connections: 0 });
    if (verb === 'e' && known) known.weight = Number(weight);
    if (verb === 'd') server.endpoints.delete(endpoint);
    return '';
  }

  #putServer(verb: 'A' | 'E', key: string, options: string): string {
    const [, scheduler = ''] = /-s (\S+)/.exec(options) ?? [];
    const server = this.servers.get(key);
    if (verb === 'A' && server) return 'Service already exists\n';
    if (verb === 'E' && !server) return 'No such service\n';
    if (!this.schedulers.has(scheduler)) return 'Scheduler or persistence engine not found\n';
    if (server) server.options = options;
    else this.servers.set(key, { options, endpoints: new Map() });
    return '';
  }

  #batch(lines: readonly string[], isForced: boolean): void {
    let refusal: unknown;
    for (const line of lines) {
      try {
        this.#ip(line);
      } catch (error) {
        if (!isForced) throw error;
        refusal ??= error;
      }
    }
    if (refusal) throw refusal;
  }

  #ip(line: string): void {
    const refuse = (what: string) => failed('ip', `RTNETLINK answers: ${what}`);
    const [, add] = /^link add name (\S+) type dummy$/.exec(line) ?? [];
    const [, set, what, value = ''] = /^link set dev (\S+) (alias|name) (\S+)$/.exec(line) ?? [];
    const [, del] = /^link del dev (\S+)$/.exec(line) ?? [];
    const [, verb, ip = '', name = ''] = /^addr (add|del) (\S+)\/\d+ dev (\S+)(?: nodad)?$/.exec(line) ?? [];
    if (add !== undefined) {
      if (this.links.has(add)) throw refuse('File exists');
      this.links.set(add, { alias: undefined, addresses: new Set() });
      return;
    }
    const link = this.links.get(set ?? del ?? name);
    if (!link) throw failed('ip', `Cannot find device "${set ?? del ?? name}"`);
    if (del !== undefined) this.links.delete(del);
    if (what === 'alias') link.alias = value;
    if (set !== undefined && what === 'name') {
      if (this.links.has(value)) throw refuse('File exists');
      this.links.delete(set);
      this.links.set(value, link);
    }
    if (verb === 'add' && link.addresses.has(ip)) throw refuse('File exists');
    if (verb === 'del' && !link.addresses.has(ip)) throw refuse('Cannot assign requested address');
    if (verb === 'add') link.addresses.add(ip);
    if (verb === 'del') link.addresses.delete(ip);
  }

  /** As with -exist. */
  #ipset(line: string): void {
    const [verb, name = '', first = '', ...more] = line.split(' ');
    const set = this.sets.get(name);
    if (verb === 'create') {
      if (!set) this.sets.set(name, { type: [first, ...more].join(' '), elements: new Map() });
      return;
    }
    if (!set) throw failed('ipset', 'The set with the given name does not exist');
    if (verb === 'add') set.elements.set(first, more.length > 0 ? ` ${more.join(' ')}` : '');
    if (verb === 'del') set.elements.delete(first);
    if (verb !== 'destroy') return;
    if (Object.values(this.rules).some((rules) => rules.namesSet(name))) {
      throw failed('ipset', 'Set cannot be destroyed: it is in use by a kernel component');
    }
    this.sets.delete(name);
  }

  #restore(family: 'IPv4' | 'IPv6', input: string): void {
    const refusal = this.rules[family].restore(input, (set) => this.sets.has(set));
    if (refusal !== undefined) throw failed(family === 'IPv4' ? 'iptables-restore' : 'ip6tables-restore', refusal);
  }

  /** All of it, in no particular order, as lines that can be compared. */
  dump(): readonly string[] {
    return [
      ...[...this.servers].flatMap(([key, server]) => savedServer(key, server).split('\n')),
      ...[...this.links].flatMap(([name, { alias, addresses }]) => [
        `link ${name} ${alias ?? ''}`,
        ...[...addresses].map((ip) => `addr ${ip} dev ${name}`),
      ]),
      ...[...this.sets].flatMap(([name, { type, elements }]) => [
        `create ${name} ${type}`,
        ...[...elements].map(([element, more]) => `add ${name} ${element}${more}`),
      ]),
      ...this.rules.IPv4.save().split('\n'),
      ...this.rules.IPv6.save()
        .split('\n')
        .map((line) => `6 ${line}`),
      ...[...this.sysctls].map(([name, value]) => `${name} = ${value}`),
    ].filter((line) => line !== '');
  }
}

const failed = (file: string, stderr: string): ExecError =>
  new ExecError(file, `exited with status 1: ${stderr}`, {
    ...{ code: 'ExecFailed', exitCode: 1, stderr, timedOut: false },
  });

const savedServer = (key: string, { options, endpoints }: FakeServer): string =>
  [
    `-A ${key} ${options}`,
    ...[...endpoints].map(([endpoint, { weight }]) => `-a ${key} -r ${endpoint} -m -w ${weight}`),
    '',
  ].join('\n');

const protocols: Readonly<Record<string, string>> = { '-t': 'TCP', '-u': 'UDP', '--sctp-service': 'SCTP', '-f': 'FWM' };

function listedServer(key: string, { options, endpoints }: FakeServer): string {
  const [flag = '', name = '', six] = key.split(' ');
  const lines = [...endpoints].map(([endpoint, one]) => `  -> ${endpoint}  Masq  ${one.weight}  ${one.connections}  0`);
  return [`${protocols[flag]}  ${name}${six ? ' IPv6' : ''} ${options.replace('-s ', '')}`, ...lines, ''].join('\n');
}

const shownLink = (ifname: string, { alias, addresses }: FakeLink): object => ({
  ifname,
  ...(alias === undefined ? {} : { ifalias: alias }),
  addr_info: [...addresses].map((local) => ({
    family: local.includes(':') ? 'inet6' : 'inet',
    local,
    scope: local.startsWith('fe80') ? 'link' : 'global',
  })),
});

import type { FakeIpvs } from '../proxy/ipvs/fake-ipvs.ts';
import { inRanges } from '../proxy/read-service.ts';
import type { Fate } from './packet-tracer.ts';

/** The first packet of a connection, as it comes to the node. */
export interface IpvsPacket {
  readonly source: string;
  readonly destination: string;
  readonly proto: 'tcp' | 'udp' | 'sctp';
  readonly port: number;
  /** Where it comes in; undefined: from a process of the host. */
  readonly interface: string | undefined;
}

interface Flight extends IpvsPacket {
  readonly mark: number;
}

type Verdict = 'accept' | 'drop' | 'reject' | 'masquerade';

/**
 * Follows a packet the way that the kernel leads it: mangle, nat, filter (but for the host's own packets, which IPVS
 * takes before that), the virtual server by mark or else by address, and nat on the way out. Throws on a rule that it
 * does not know.
 */
export function traceIpvs(kernel: FakeIpvs, packet: IpvsPacket): Fate {
  const family = packet.destination.includes(':') ? 'IPv6' : 'IPv4';
  const walk = new Walk(kernel, family);
  const isHosts = packet.interface === undefined;
  // A process that asks an address of its own host has that address itself, unless it wants another.
  const source = isHosts && walk.isLocal(packet.destination) ? packet.destination : packet.source;
  let flight: Flight = { ...packet, source, mark: 0 };
  const hooks = isHosts
    ? (['mangle OUTPUT', 'nat OUTPUT'] as const)
    : (['mangle PREROUTING', 'nat PREROUTING', 'filter INPUT'] as const);
  for (const hook of hooks) {
    if (hook === 'filter INPUT' && !walk.isLocal(flight.destination)) return { verdict: 'untouched' };
    const { verdict, flight: next } = walk.run(hook, flight);
    if (verdict === 'drop' || verdict === 'reject') return { verdict };
    flight = next;
  }
  if (!walk.isLocal(flight.destination)) return { verdict: 'untouched' };
  const server = walk.server(flight);
  if (!server) return { verdict: 'untouched' };
  const endpoints = [...server.endpoints].filter(([, { weight }]) => weight > 0).map(([endpoint]) => endpoint);
  if (endpoints.length === 0) return { verdict: 'reject' };
  return { verdict: 'forward', endpoints: endpoints.map((endpoint) => walk.leave(flight, endpoint)).sort() };
}

class Walk {
  readonly #kernel: FakeIpvs;
  readonly #family: 'IPv4' | 'IPv6';
  readonly #tables: ReadonlyMap<string, readonly string[]>;

  constructor(kernel: FakeIpvs, family: 'IPv4' | 'IPv6') {
    this.#kernel = kernel;
    this.#family = family;
    const chains = new Map<string, string[]>();
    let table = '';
    for (const line of kernel.rules[family].save().split('\n')) {
      if (line.startsWith('*')) table = line.slice(1);
      const [, name = '', rule = ''] = /^-A (\S+) (.*)$/.exec(line) ?? [];
      if (name !== '') chains.set(`${table} ${name}`, [...(chains.get(`${table} ${name}`) ?? []), rule]);
    }
    this.#tables = chains;
  }

  isLocal(ip: string): boolean {
    return [...this.#kernel.links.values()].some(({ addresses }) => addresses.has(ip));
  }

  server({ mark, destination, proto, port }: Flight) {
    const byMark = this.#kernel.servers.get(`-f ${mark}${this.#family === 'IPv6' ? ' -6' : ''}`);
    if (byMark) return byMark;
    const flag = proto === 'tcp' ? '-t' : proto === 'udp' ? '-u' : '--sctp-service';
    const ip = this.#family === 'IPv6' ? `[${destination}]` : destination;
    return this.#kernel.servers.get(`${flag} ${ip}:${port}`);
  }

  /** `10.244.0.5 . 8080`, followed by ` masqueraded` where it is. */
  leave(flight: Flight, endpoint: string): string {
    const [, ip = '', port] = /^\[?([^\]]+?)\]?:(\d+)$/.exec(endpoint) ?? [];
    let left: Flight = { ...flight, destination: ip, port: Number(port), interface: undefined };
    left = this.run('mangle POSTROUTING', left).flight;
    const { verdict } = this.run('nat POSTROUTING', left);
    return `${ip} . ${port}${verdict === 'masquerade' ? ' masqueraded' : ''}`;
  }

  /** `table CHAIN`; a packet that no rule ends is accepted. */
  run(chain: string, flight: Flight): { readonly verdict: Verdict | undefined; readonly flight: Flight } {
    const [table] = chain.split(' ');
    let now = flight;
    for (const rule of this.#tables.get(chain) ?? []) {
      const [, match = '', target = ''] = /^(.*?) ?-m comment --comment "[^"]*" -j (.*)$/.exec(rule) ?? [];
      if (target === '') throw new Error(`no rule of ours: ${rule}`);
      if (!this.#matches(match, now)) continue;
      const [name = '', ...options] = target.split(' ');
      if (name === 'RETURN') return { verdict: undefined, flight: now };
      if (name === 'DROP' || name === 'REJECT' || name === 'MASQUERADE') {
        return { verdict: name.toLowerCase() as Verdict, flight: now };
      }
      if (name === 'MARK' || name === 'SET') now = { ...now, mark: this.#marked(options, now) };
      else {
        const inner = this.run(`${table} ${name}`, now);
        if (inner.verdict) return inner;
        now = inner.flight;
      }
    }
    return { verdict: undefined, flight: now };
  }

  #marked([verb, value = '', fields = '']: readonly string[], flight: Flight): number {
    if (verb === '--set-xmark') {
      const [set = 0, mask = 0] = value.split('/').map(Number);
      return ((flight.mark & ~mask) ^ set) >>> 0;
    }
    const element = this.#kernel.sets.get(value)?.elements.get(elementOf(fields, flight));
    const [, mark] = /skbmark (0x[0-9a-f]+)/.exec(element ?? '') ?? [];
    return mark === undefined ? flight.mark : Number(mark);
  }

  #matches(match: string, flight: Flight): boolean {
    let rest = match;
    while (rest !== '') {
      const found = matchers.find(({ pattern }) => pattern.test(rest));
      const groups = found?.pattern.exec(rest);
      if (!found || !groups) throw new Error(`an unknown match: ${rest}`);
      const [whole, not, ...values] = groups;
      if (this.#holds(found.kind, values, flight) === (not === '! ')) return false;
      rest = rest.slice(whole.length).trimStart();
    }
    return true;
  }

  #holds(kind: string, [a = '', b = '']: readonly string[], flight: Flight): boolean {
    switch (kind) {
      case 'state':
        return a.split(',').includes('NEW');
      case 'set':
        return this.#isMember(a, b, flight);
      case 'mark': {
        const [value = 0, mask = 0] = a.split('/').map(Number);
        return (flight.mark & mask) >>> 0 === value;
      }
      case 'type':
        return this.isLocal(a === 'src' ? flight.source : flight.destination);
      case 'range':
        return inRanges(a === 's' ? flight.source : flight.destination, [b]);
      case 'interface':
        return a.endsWith('+') ? flight.interface?.startsWith(a.slice(0, -1)) === true : flight.interface === a;
      default:
        return flight.proto === a;
    }
  }

  #isMember(name: string, fields: string, flight: Flight): boolean {
    const set = this.#kernel.sets.get(name);
    if (!set) throw new Error(`no set ${name}`);
    if (set.type.startsWith('bitmap:port')) return set.elements.has(String(flight.port));
    if (!set.type.startsWith('hash:ip,port,net')) return set.elements.has(elementOf(fields, flight));
    const [ip = '', port = ''] = elementOf(fields, flight).split(',');
    return [...set.elements.keys()].some((element) => {
      const [address, at, net = ''] = element.split(',');
      const range = net.includes('/') ? net : `${net}/${net.includes(':') ? 128 : 32}`;
      return address === ip && at === port && inRanges(flight.source, [range]);
    });
  }
}

/** What a set is asked for: `dst,dst,src` is address and port that the packet goes to, and where it is from. */
const elementOf = (fields: string, { source, destination, proto, port }: Flight): string =>
  fields
    .split(',')
    .map((field, i) => (i === 1 ? `${proto}:${port}` : field === 'src' ? source : destination))
    .join(',');

/** Each at the beginning of what is left, with a negation for its first group. */
const matchers: readonly { readonly kind: string; readonly pattern: RegExp }[] = [
  { kind: 'state', pattern: /^-m conntrack (! )?--ctstate (\S+)/ },
  { kind: 'set', pattern: /^-m set (! )?--match-set (\S+) (\S+)/ },
  { kind: 'mark', pattern: /^-m mark (! )?--mark (\S+)/ },
  { kind: 'type', pattern: /^-m addrtype (! )?--(src|dst)-type LOCAL/ },
  { kind: 'range', pattern: /^(! )?-([sd]) (\S+)/ },
  { kind: 'interface', pattern: /^(! )?-i (\S+)/ },
  { kind: 'protocol', pattern: /^(! )?-p (\S+)/ },
];

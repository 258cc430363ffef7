import type { FakeChains } from '../proxy/iptables/fake-iptables.ts';
import { inRanges } from '../proxy/read-service.ts';
import type { Fate, Packet } from './packet-tracer.ts';

/** With the interface that it comes in by; none from this host. */
export interface IncomingPacket extends Packet {
  readonly interface?: string;
}

interface Flight extends IncomingPacket {
  readonly mark: number;
  readonly translated: boolean;
}

type End = 'through' | 'return' | 'accept' | 'drop' | 'reject' | 'masquerade';

/** One way that a packet may go; random choices make several. */
interface Way {
  readonly flight: Flight;
  readonly end: End;
}

/** Follows the first packet of a connection through the tables of iptables; throws on a rule it does not know. */
export function traceIptables(table: (name: 'nat' | 'filter') => FakeChains | undefined, packet: IncomingPacket): Fate {
  const nat = table('nat') ?? new Map();
  const filter = table('filter') ?? new Map();
  const run = (chains: FakeChains, chain: string, flights: readonly Flight[]) =>
    flights.flatMap((flight) => runChain(chains, chain, flight));
  const start: Flight = { ...packet, mark: 0, translated: false };
  const routed = run(nat, packet.from === 'host' ? 'OUTPUT' : 'PREROUTING', [start]).map(({ flight }) => flight);
  const isLocal = packet.nodeAddresses?.includes(packet.destination) === true;
  const hook = packet.from === 'host' ? 'OUTPUT' : isLocal ? undefined : 'FORWARD';
  const passed = routed.flatMap((flight) => run(filter, hook ?? (flight.translated ? 'FORWARD' : 'INPUT'), [flight]));
  const ended = passed.find(({ end }) => end === 'drop' || end === 'reject')?.end;
  if (ended === 'drop' || ended === 'reject') return { verdict: ended };
  const flights = passed.map(({ flight }) => flight);
  if (flights.every((flight) => !flight.translated)) return { verdict: 'untouched' };
  // Some ways lead to an endpoint and some do not: a chain that picks one has lost a rule.
  if (flights.some((flight) => !flight.translated)) return { verdict: 'dangling' };
  const endpoints = flights.map((flight) => {
    const isMasqueraded = run(nat, 'POSTROUTING', [flight]).some(({ end }) => end === 'masquerade');
    return `${flight.destination} . ${flight.port}${isMasqueraded ? ' masqueraded' : ''}`;
  });
  return { verdict: 'forward', endpoints: [...new Set(endpoints)].sort() };
}

function runChain(chains: FakeChains, name: string, start: Flight): readonly Way[] {
  const done: Way[] = [];
  let going: readonly Flight[] = [start];
  for (const text of chains.get(name) ?? []) {
    const next: Flight[] = [];
    for (const flight of going) {
      const { matched, isRandom } = matches(text, flight);
      if (!matched || isRandom) next.push(flight);
      if (!matched) continue;
      for (const way of runTarget(chains, text, flight)) {
        if (way.end === 'through') next.push(way.flight);
        else done.push(way);
      }
    }
    going = next;
  }
  return [...done, ...going.map((flight): Way => ({ flight, end: 'through' }))];
}

function runTarget(chains: FakeChains, text: string, flight: Flight): readonly Way[] {
  const [, target = '', rest = ''] = /(?:^| )-j (\S+)(?: (.*))?$/.exec(text) ?? [];
  switch (target) {
    case 'ACCEPT':
      return [{ flight, end: 'accept' }];
    case 'DROP':
      return [{ flight, end: 'drop' }];
    case 'REJECT':
      return [{ flight, end: 'reject' }];
    case 'RETURN':
      return [{ flight, end: 'return' }];
    case 'MASQUERADE':
      return [{ flight, end: 'masquerade' }];
    case 'MARK': {
      const [value = 0, mask = 0] = rest.replace('--set-xmark ', '').split('/').map(Number);
      return [{ flight: { ...flight, mark: (flight.mark & ~mask) ^ value }, end: 'through' }];
    }
    case 'DNAT': {
      const [, destination = '', port] = /^--to-destination \[?(.*?)\]?:(\d+)$/.exec(rest) ?? [];
      return [{ flight: { ...flight, destination, port: Number(port), translated: true }, end: 'accept' }];
    }
    default:
      if (!chains.has(target)) throw new Error(`the tracer does not know this target: ${text}`);
      return runChain(chains, target, flight).map((way) => (way.end === 'return' ? { ...way, end: 'through' } : way));
  }
}

/** Whether the conditions of a rule hold, and whether chance has a say as well. */
function matches(text: string, flight: Flight): { readonly matched: boolean; readonly isRandom: boolean } {
  const words = (/^(.*?) ?-j /.exec(text)?.[1] ?? '').match(/"[^"]*"|\S+/g) ?? [];
  let matched = true;
  let isRandom = false;
  let negated = false;
  while (words.length > 0) {
    const word = words.shift() ?? '';
    if (word === '!') {
      negated = true;
      continue;
    }
    if (word === '-m') {
      isRandom ||= words[0] === 'statistic';
      words.shift();
      continue;
    }
    if (flags.has(word)) {
      matched &&= word !== '--rcheck';
      continue;
    }
    const holds = holdsFor(word, words.shift() ?? '', flight);
    matched &&= holds !== negated;
    negated = false;
  }
  return { matched, isRandom };
}

/** Nobody has an affinity yet, so that `--rcheck` never holds. */
const flags = new Set(['--rcheck', '--set', '--reap', '--rsource']);

function holdsFor(option: string, value: string, flight: Flight): boolean {
  const { source, destination, nodeAddresses = [] } = flight;
  const isLoopback = (ip: string) => ip === '::1' || ip.startsWith('127.');
  const isLocal = (ip: string) => nodeAddresses.includes(ip) || isLoopback(ip);
  switch (option) {
    case '--comment':
    case '--mode':
    case '--probability':
    case '--seconds':
    case '--name':
    case '--mask':
      return true;
    case '-s':
      return inRanges(source, [value]);
    case '-d':
      return inRanges(destination, [value]);
    case '-i':
      return value.endsWith('+')
        ? flight.interface?.startsWith(value.slice(0, -1)) === true
        : flight.interface === value;
    case '-p':
      return flight.proto === value;
    case '--dport':
      return flight.port === Number(value);
    case '--dst-type':
      return isLocal(destination);
    case '--src-type':
      return isLocal(source) || flight.from === 'host';
    case '--mark': {
      const [wanted, mask = 0] = value.split('/').map(Number);
      return (flight.mark & mask) === wanted;
    }
    case '--ctstate':
      return value.split(',').some((state) => state === 'NEW' || (state === 'DNAT' && flight.translated));
    default:
      throw new Error(`the tracer does not know this condition: ${option} ${value}`);
  }
}

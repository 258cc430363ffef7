import { isIPv4 } from 'node:net';
import type { FakeTable } from '../proxy/nftables/fake-nft.ts';
import { inRanges } from '../proxy/read-service.ts';

export interface Packet {
  /** Where it enters: from another machine or a pod, or from a process of this host. */
  readonly from: 'network' | 'host';
  readonly source: string;
  readonly destination: string;
  readonly proto: 'tcp' | 'udp' | 'sctp';
  readonly port: number;
  /** What is local to the node; default: nothing that is sent to or from. */
  readonly nodeAddresses?: readonly string[];
}

/** `untouched`: no Service's; `dangling`: a slot without endpoint, which must never be. */
export type Fate =
  | { readonly verdict: 'untouched' | 'reject' | 'drop' | 'dangling' }
  | {
      readonly verdict: 'forward';
      /** `10.244.0.5 . 8080`, sorted; followed by ` masqueraded` where the endpoint sees a node address. */
      readonly endpoints: readonly string[];
    };

interface Flight extends Packet {
  readonly mark: number;
  readonly translated: boolean;
}

/** One of several that are as likely: `left` are still to come, this one among them. */
interface Perhaps {
  readonly perhaps: Flight;
  readonly left: number;
}

type Outcome = { readonly end: 'reject' | 'drop' | 'dangling' } | { readonly flights: readonly Flight[] };

/** Follows the first packet of a connection through a table; throws on a rule it does not know. */
export function tracePacket(table: FakeTable, packet: Packet): Fate {
  const hooks =
    packet.from === 'host'
      ? ['sources-output', 'output', 'filter-output']
      : ['sources-prerouting', 'prerouting', 'forward'];
  let flights: readonly Flight[] = [{ ...packet, mark: 0, translated: false }];
  for (const hook of hooks) {
    const outcomes = flights.map((flight) => runChain(table, hook, flight));
    const ended = outcomes.find((outcome) => 'end' in outcome);
    if (ended && 'end' in ended) return { verdict: ended.end };
    flights = outcomes.flatMap((outcome) => ('flights' in outcome ? outcome.flights : []));
  }
  if (flights.every((flight) => !flight.translated)) return { verdict: 'untouched' };
  const endpoints = flights.map((flight) => {
    const masqueraded = isMasqueraded(table, flight) ? ' masqueraded' : '';
    return `${flight.destination} . ${flight.port}${masqueraded}`;
  });
  return { verdict: 'forward', endpoints: endpoints.sort() };
}

function runChain(table: FakeTable, name: string, start: Flight): Outcome {
  let flight = start;
  const likely: Flight[] = [];
  for (const { text } of table.chains.get(name)?.rules ?? []) {
    const next = runRule(table, text, flight);
    if (next === undefined) continue;
    if ('perhaps' in next) {
      likely.push(next.perhaps);
      if (next.left === 1) return { flights: likely };
    } else if ('mark' in next) flight = next;
    else return next;
  }
  return likely.length > 0 ? { end: 'dangling' } : { flights: [flight] };
}

/** Undefined: goes on with the next rule; a flight: goes on changed; an outcome: the hook is done with it. */
function runRule(table: FakeTable, text: string, flight: Flight): Outcome | Perhaps | Flight | undefined {
  const conditions =
    /^(?:ct state new )?(?:(?:ip6? [sd]addr (?:!= )?(?:\{ .*? \}|[0-9a-f:]\S*)|fib [sd]addr type local) )*/.exec(
      text,
    )?.[0] ?? '';
  const action = text.slice(conditions.length).replace(/^ip6? daddr \. /, '');
  const isAddressed = action.length + conditions.length < text.length;
  if (!matches(conditions, flight)) return undefined;
  if (action === 'reject' || action === 'drop') return { end: action };
  const lookup = /^meta l4proto \. th dport vmap @([\w-]+)$/.exec(action)?.[1];
  if (lookup !== undefined) {
    const key = `${isAddressed ? `${flight.destination} . ` : ''}${flight.proto} . ${flight.port}`;
    const verdict = table.sets.get(lookup)?.elements.get(key);
    if (verdict === undefined) return undefined;
    if (verdict === 'accept') return { flights: [flight] };
    return verdict === 'drop' ? { end: 'drop' } : runChain(table, verdict.slice('goto '.length), flight);
  }
  const mark = /^meta mark set meta mark \| (0x[0-9a-f]+)$/.exec(action);
  if (mark) return { ...flight, mark: flight.mark | Number(mark[1]) };
  // Nobody has an affinity yet.
  if (/^meta l4proto \w+ ip6? saddr \. .* @affinity-\w+ update @affinity-/.test(action)) return undefined;
  const kept =
    /^meta l4proto (\w+) numgen random mod (\d+) 0 update @affinity-\1 \{ .* \} dnat ip6? to \[?(.*?)\]?:(\d+)$/.exec(
      action,
    );
  if (kept) {
    if (kept[1] !== flight.proto) return undefined;
    const perhaps = { ...flight, destination: kept[3] ?? '', port: Number(kept[4]), translated: true };
    return { perhaps, left: Number(kept[2]) };
  }
  const pick =
    /^meta l4proto (\w+) dnat ip6? to (ip6? daddr \. )?\1 dport \. numgen random mod (\d+) map @([\w-]+)$/.exec(action);
  if (!pick) throw new Error(`the tracer does not know this rule: ${text}`);
  const slots = Array.from({ length: Number(pick[3]) }, (_, slot) => {
    const address = pick[2] === undefined ? '' : `${flight.destination} . `;
    return table.sets.get(pick[4] ?? '')?.elements.get(`${address}${flight.port} . ${slot}`);
  });
  if (pick[1] !== flight.proto || slots.includes(undefined)) return { end: 'dangling' };
  return {
    flights: slots.map((slot) => {
      const [destination = '', port] = (slot ?? '').split(' . ');
      return { ...flight, destination, port: Number(port), translated: true };
    }),
  };
}

/** Whether all conditions at the head of a rule hold. */
function matches(conditions: string, { source, destination, nodeAddresses = [] }: Flight): boolean {
  const address = (side: string | undefined) => (side === 's' ? source : destination);
  const locals = [...conditions.matchAll(/fib ([sd])addr type local/g)];
  if (!locals.every(([, side]) => nodeAddresses.includes(address(side)))) return false;
  return [...conditions.matchAll(/ip6? ([sd])addr (!= )?(?:\{ (.*?) \}|([0-9a-f:]\S*))/g)].every(
    ([, side, not, list, one]) => {
      const ranges = (list ?? one ?? '')
        .split(', ')
        .map((range) => (range.includes('/') ? range : wholeAddress(range)));
      return inRanges(address(side), ranges) === (not === undefined);
    },
  );
}

const wholeAddress = (ip: string): string => `${ip}/${isIPv4(ip) ? 32 : 128}`;

const hairpinRule = 'ct status dnat ip saddr . ip daddr @hairpins masquerade fully-random';

function isMasqueraded(table: FakeTable, flight: Flight): boolean {
  return (table.chains.get('postrouting')?.rules ?? []).some(({ text }) => {
    const bit = /^meta mark & (0x[0-9a-f]+) == \1 /.exec(text)?.[1];
    if (bit !== undefined) return (flight.mark & Number(bit)) !== 0;
    if (text.replaceAll('ip6', 'ip') !== hairpinRule) throw new Error(text);
    return table.sets.get('hairpins')?.elements.has(`${flight.source} . ${flight.destination}`) === true;
  });
}

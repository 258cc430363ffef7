import { BlockList } from 'node:net';
import type { FakeTable } from '../proxy/nftables/fake-nft.ts';

export interface Packet {
  /** Where it enters: from another machine or a pod, or from a process of this host. */
  readonly from: 'network' | 'host';
  readonly source: string;
  readonly destination: string;
  readonly proto: 'tcp' | 'udp' | 'sctp';
  readonly port: number;
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

type Outcome = { readonly end: 'reject' | 'drop' | 'dangling' } | { readonly flights: readonly Flight[] };

/** Follows the first packet of a connection through a table; throws on a rule it does not know. */
export function tracePacket(table: FakeTable, packet: Packet): Fate {
  const hooks = packet.from === 'host' ? ['output', 'filter-output'] : ['prerouting', 'forward'];
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
  for (const { text } of table.chains.get(name)?.rules ?? []) {
    const next = runRule(table, text, flight);
    if (next === undefined) continue;
    if ('mark' in next) flight = next;
    else return next;
  }
  return { flights: [flight] };
}

/** Undefined: goes on with the next rule; a flight: goes on changed; an outcome: the hook is done with it. */
function runRule(table: FakeTable, text: string, flight: Flight): Outcome | Flight | undefined {
  if (text === 'reject') return { end: 'reject' };
  const lookup = /^(?:ct state new )?ip daddr \. meta l4proto \. th dport vmap @([\w-]+)$/.exec(text)?.[1];
  if (lookup !== undefined) {
    const verdict = table.sets.get(lookup)?.elements.get(`${flight.destination} . ${flight.proto} . ${flight.port}`);
    if (verdict === undefined) return undefined;
    return verdict === 'drop' ? { end: 'drop' } : runChain(table, verdict.slice('goto '.length), flight);
  }
  const mark = /^(?:ip saddr != \{ (.*) \} )?meta mark set meta mark \| (0x[0-9a-f]+)$/.exec(text);
  if (mark) {
    const outside = mark[1] === undefined || !inRanges(flight.source, mark[1].split(', '));
    return outside ? { ...flight, mark: flight.mark | Number(mark[2]) } : undefined;
  }
  const pick = /^meta l4proto (\w+) dnat ip to ip daddr \. \1 dport \. numgen random mod (\d+) map @([\w-]+)$/.exec(
    text,
  );
  if (!pick) throw new Error(`the tracer does not know this rule: ${text}`);
  const slots = Array.from({ length: Number(pick[2]) }, (_, slot) =>
    table.sets.get(pick[3] ?? '')?.elements.get(`${flight.destination} . ${flight.port} . ${slot}`),
  );
  if (pick[1] !== flight.proto || slots.includes(undefined)) return { end: 'dangling' };
  return {
    flights: slots.map((slot) => {
      const [destination = '', port] = (slot ?? '').split(' . ');
      return { ...flight, destination, port: Number(port), translated: true };
    }),
  };
}

function isMasqueraded(table: FakeTable, flight: Flight): boolean {
  return (table.chains.get('postrouting')?.rules ?? []).some(({ text }) => {
    const bit = /^meta mark & (0x[0-9a-f]+) == \1 /.exec(text)?.[1];
    if (bit !== undefined) return (flight.mark & Number(bit)) !== 0;
    if (text !== 'ct status dnat ip saddr . ip daddr @hairpins masquerade fully-random') throw new Error(text);
    return table.sets.get('hairpins')?.elements.has(`${flight.source} . ${flight.destination}`) === true;
  });
}

function inRanges(ip: string, cidrs: readonly string[]): boolean {
  const list = new BlockList();
  for (const cidr of cidrs) list.addSubnet(cidr.split('/')[0] ?? '', Number(cidr.split('/')[1]));
  return list.check(ip);
}

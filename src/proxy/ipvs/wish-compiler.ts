import type { TrafficRules, Wish } from '../backend.ts';
import { inRanges } from '../read-service.ts';
import type { Route } from '../route-services.ts';
import { frontendKey, nodeAddress } from '../route-services.ts';
import type { Place } from './compile-route.ts';
import { compileRoute, outsideElement } from './compile-route.ts';
import type { KernelState } from './kernel-state.ts';
import { OutsideMarks } from './outside-marks.ts';
import type { Touched } from './wished-state.ts';
import { untouched, WishedState } from './wished-state.ts';

/** What a wish comes to for a node with certain addresses; kept from one sync to the next, changed frontend by frontend. */
export class WishCompiler {
  readonly wished = new WishedState();
  readonly place: Place;
  readonly #marks: OutsideMarks;

  constructor(place: Place, marks: OutsideMarks) {
    this.place = place;
    this.#marks = marks;
  }

  /** For a kernel as it was read: marks that it has are kept. */
  static for(state: KernelState, rules: TrafficRules, scheduler: string): WishCompiler {
    const { family } = rules;
    const { hostAddresses } = state;
    const place = { family, scheduler, hostAddresses, nodePortAddresses: nodePortAddresses(hostAddresses, rules) };
    const marks = [...(state.sets.get('KEELSON-OUTSIDE') ?? [])].map(
      ([element, extension]) => [element, Number(/skbmark (0x[0-9a-f]+)/.exec(extension)?.[1] ?? 0)] as const,
    );
    return new WishCompiler(place, new OutsideMarks(rules.masqueradeBit, marks));
  }

  /** These, and the node ports that are served where one of these is, or was, an address of the node. */
  *affected(frontends: Iterable<string>): Generator<string> {
    for (const frontend of frontends) {
      yield frontend;
      const [ip = '', ...rest] = frontend.split(' ');
      if (this.place.nodePortAddresses.includes(ip)) yield [nodeAddress, ...rest].join(' ');
    }
  }

  /** Compiles some frontends anew; returns what that may change. */
  update(routes: Wish['routes'], frontends: Iterable<string>): Touched {
    const touched = untouched();
    for (const frontend of frontends) {
      const route = routes.get(frontend);
      const place = route ? this.#placeOf(route, routes) : this.place;
      const element = route && outsideElement(route, place);
      if (element === undefined) this.#marks.release(frontend);
      const mark = element === undefined ? undefined : this.#marks.take(frontend, element);
      this.wished.put(frontend, route && compileRoute(route, place, mark), touched);
    }
    return touched;
  }

  /** Where an address of the node is some Service's own, with the same port, that goes before the node port. */
  #placeOf({ frontend }: Route, routes: Wish['routes']): Place {
    if (frontend.ip !== nodeAddress) return this.place;
    const isFree = (ip: string) => routes.get(frontendKey({ ...frontend, ip })) === undefined;
    return { ...this.place, nodePortAddresses: this.place.nodePortAddresses.filter(isFree) };
  }
}

const loopback = { IPv4: '127.0.0.0/8', IPv6: '::1/128' } as const;

/**
 * Where node ports are served. Never on loopback addresses: IPVS refuses to lead what has such a source elsewhere.
 */
function nodePortAddresses(host: ReadonlySet<string>, { family, nodePortAddresses: ranges }: TrafficRules) {
  return [...host]
    .filter((ip) => !inRanges(ip, [loopback[family]]) && (ranges.length === 0 || inRanges(ip, ranges)))
    .sort();
}

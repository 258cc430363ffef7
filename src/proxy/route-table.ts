import { isDeepStrictEqual } from 'node:util';
import type { Route } from './route-services.ts';
import { frontendKey, nodeAddress } from './route-services.ts';

interface Claim {
  readonly serviceKey: string;
  readonly createdAt: string;
  readonly route: Route;
}

/** Two Services want the same address, protocol and port; `winner` has it. */
export interface FrontendConflict {
  readonly frontend: string;
  readonly winner: string;
  readonly loser: string;
}

/** One frontend whose route is another now. */
export interface RouteChange {
  readonly frontend: string;
  /** Keys of the Services that had it and have it. */
  readonly services: readonly string[];
  readonly previous: Route | undefined;
  readonly current: Route | undefined;
}

/**
 * All routes by frontend, kept up to date one Service at a time. Where several Services claim one frontend the
 * oldest has it (by creation time, then by name), and the next one when that goes.
 */
export class RouteTable {
  readonly #claims = new Map<string, readonly Claim[]>();
  readonly #byService = new Map<string, ReadonlySet<string>>();
  /** How many winning routes may reach this address on this node. */
  readonly #localTargets = new Map<string, number>();
  #nodePorts = 0;
  #changedTargets = new Set<string>();

  get isEmpty(): boolean {
    return this.#claims.size === 0;
  }

  get hasNodePorts(): boolean {
    return this.#nodePorts > 0;
  }

  get(frontend: string): Route | undefined {
    return this.#claims.get(frontend)?.[0]?.route;
  }

  frontends(): Iterable<string> {
    return this.#claims.keys();
  }

  /** Addresses that may be client and endpoint of the same connection through this node. */
  localTargets(): ReadonlyMap<string, number> {
    return this.#localTargets;
  }

  /** Addresses whose membership in `localTargets` may have changed since the last call. */
  takeChangedTargets(): ReadonlySet<string> {
    const changed = this.#changedTargets;
    this.#changedTargets = new Set();
    return changed;
  }

  /** `namespace/name` of the Service that has the frontend. */
  ownerOf(frontend: string): string | undefined {
    return this.#claims.get(frontend)?.[0]?.serviceKey;
  }

  /** Keys of the Services that want a frontend; the first one has it. */
  claimants(frontend: string): readonly string[] {
    return (this.#claims.get(frontend) ?? []).map((claim) => claim.serviceKey);
  }

  /** Keys of the Services that want any frontend. */
  servicesWithRoutes(): Iterable<string> {
    return this.#byService.keys();
  }

  /** The routes that a Service has, without those frontends that an older Service has. */
  routesOf(serviceKey: string): readonly Route[] {
    return [...(this.#byService.get(serviceKey) ?? [])].flatMap((frontend) => {
      const claim = this.#claims.get(frontend)?.[0];
      return claim?.serviceKey === serviceKey ? [claim.route] : [];
    });
  }

  /** Replaces the routes of one Service; none removes it. Returns the frontends whose route differs now. */
  update(
    serviceKey: string,
    createdAt: string,
    routes: readonly Route[],
  ): { changed: readonly RouteChange[]; conflicts: readonly FrontendConflict[] } {
    const wanted = new Map(routes.map((route) => [frontendKey(route.frontend), route]));
    const changed: RouteChange[] = [];
    const conflicts: FrontendConflict[] = [];
    for (const frontend of new Set([...(this.#byService.get(serviceKey) ?? []), ...wanted.keys()])) {
      const before = this.#claims.get(frontend)?.[0];
      const route = wanted.get(frontend);
      const claims = (this.#claims.get(frontend) ?? []).filter((claim) => claim.serviceKey !== serviceKey);
      if (route) claims.push({ serviceKey, createdAt, route });
      claims.sort(byAge);
      if (claims.length > 0) this.#claims.set(frontend, claims);
      else this.#claims.delete(frontend);
      const [winner, ...losers] = claims;
      if (winner && losers.some((claim) => claim.serviceKey === serviceKey)) {
        conflicts.push({ frontend, winner: winner.serviceKey, loser: serviceKey });
      } else if (winner?.serviceKey === serviceKey) {
        conflicts.push(...losers.map((claim) => ({ frontend, winner: serviceKey, loser: claim.serviceKey })));
      }
      if (before?.serviceKey === winner?.serviceKey && isDeepStrictEqual(before?.route, winner?.route)) continue;
      this.#countTargets(before?.route, -1);
      this.#countTargets(winner?.route, 1);
      const services = [before?.serviceKey, winner?.serviceKey].filter((key) => key !== undefined);
      changed.push({ frontend, services, previous: before?.route, current: winner?.route });
    }
    if (wanted.size > 0) this.#byService.set(serviceKey, new Set(wanted.keys()));
    else this.#byService.delete(serviceKey);
    return { changed, conflicts };
  }

  #countTargets(route: Route | undefined, by: 1 | -1): void {
    if (route?.frontend.ip === nodeAddress) this.#nodePorts += by;
    for (const target of [...(route?.targets ?? []), ...(route?.outside?.targets ?? [])]) {
      if (!target.mayBeLocal) continue;
      this.#changedTargets.add(target.ip);
      const count = (this.#localTargets.get(target.ip) ?? 0) + by;
      if (count > 0) this.#localTargets.set(target.ip, count);
      else this.#localTargets.delete(target.ip);
    }
  }
}

function byAge(a: Claim, b: Claim): number {
  return compare(a.createdAt, b.createdAt) || compare(a.serviceKey, b.serviceKey);
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

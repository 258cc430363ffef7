import type { Compiled, Member, WishedServer } from './compile-route.ts';
import type { SetRole } from './set-layout.ts';

/** Keys where kernel and wish may differ. */
export interface Touched {
  readonly servers: Set<string>;
  readonly addresses: Set<string>;
  /** Elements by set. */
  readonly members: Map<SetRole, Set<string>>;
}

export const untouched = (): Touched => ({ servers: new Set(), addresses: new Set(), members: new Map() });

export function touchMember(touched: Touched, set: SetRole, element: string): void {
  const elements = touched.members.get(set);
  if (elements) elements.add(element);
  else touched.members.set(set, new Set([element]));
}

/** What all frontends together need: several may need the same address or set member, which goes with the last. */
export class WishedState {
  readonly #compiled = new Map<string, Compiled>();
  readonly #servers = new Map<string, ReadonlyMap<string, WishedServer>>();
  readonly #addresses = new Map<string, number>();
  /** How many frontends want an element with an extension. */
  readonly #members = new Map<SetRole, Map<string, Map<string, number>>>();

  get size(): number {
    return this.#compiled.size;
  }

  frontends(): Iterable<string> {
    return this.#compiled.keys();
  }

  /** Replaces what a frontend needs (nothing: undefined) and notes in `touched` what that may change. */
  put(frontend: string, compiled: Compiled | undefined, touched: Touched): void {
    const before = this.#compiled.get(frontend);
    if (compiled) this.#compiled.set(frontend, compiled);
    else this.#compiled.delete(frontend);
    for (const server of before?.servers ?? []) this.#putServer(server.key, frontend, undefined, touched);
    for (const server of compiled?.servers ?? []) this.#putServer(server.key, frontend, server, touched);
    for (const ip of compiled?.addresses ?? []) this.#countAddress(ip, 1, touched);
    for (const ip of before?.addresses ?? []) this.#countAddress(ip, -1, touched);
    for (const member of compiled?.members ?? []) this.#countMember(member, 1, touched);
    for (const member of before?.members ?? []) this.#countMember(member, -1, touched);
  }

  /** One frontend's, once all that changed at a time have been put. */
  server(key: string): WishedServer | undefined {
    return this.#servers.get(key)?.values().next().value;
  }

  servers(): Iterable<string> {
    return this.#servers.keys();
  }

  hasAddress(ip: string): boolean {
    return this.#addresses.has(ip);
  }

  addresses(): Iterable<string> {
    return this.#addresses.keys();
  }

  /** The extension of a member; undefined: it shall not be one. */
  member(set: SetRole, element: string): string | undefined {
    const extensions = this.#members.get(set)?.get(element);
    return extensions && [...extensions.keys()].sort()[0];
  }

  elements(set: SetRole): Iterable<string> {
    return this.#members.get(set)?.keys() ?? [];
  }

  #putServer(key: string, frontend: string, server: WishedServer | undefined, touched: Touched): void {
    touched.servers.add(key);
    const claims = new Map(this.#servers.get(key));
    if (server) claims.set(frontend, server);
    else claims.delete(frontend);
    if (claims.size > 0) this.#servers.set(key, claims);
    else this.#servers.delete(key);
  }

  #countAddress(ip: string, by: 1 | -1, touched: Touched): void {
    touched.addresses.add(ip);
    const count = (this.#addresses.get(ip) ?? 0) + by;
    if (count > 0) this.#addresses.set(ip, count);
    else this.#addresses.delete(ip);
  }

  #countMember({ set, element, extension }: Member, by: 1 | -1, touched: Touched): void {
    touchMember(touched, set, element);
    const elements = this.#members.get(set) ?? new Map<string, Map<string, number>>();
    this.#members.set(set, elements);
    const extensions = elements.get(element) ?? new Map<string, number>();
    const count = (extensions.get(extension) ?? 0) + by;
    if (count > 0) extensions.set(extension, count);
    else extensions.delete(extension);
    if (extensions.size > 0) elements.set(element, extensions);
    else elements.delete(element);
  }
}

import type { Routes } from '../backend.ts';
import { nodeAddress } from '../route-services.ts';
import type { DesiredFrontend, Proto } from './compile.ts';
import { compileRoute, frontendElement } from './compile.ts';
import type { DesiredChanges } from './diff.ts';
import type { TableState } from './table-state.ts';

/** What is wanted of some frontends (`frontendKey`) and addresses. */
export function changesOf(routes: Routes, frontends: Iterable<string>, targets: Iterable<string>): DesiredChanges {
  const local = routes.localTargets();
  return {
    frontends: [...frontends].map((frontend) => desiredOf(routes, frontend)),
    hairpins: [...targets].map((ip) => [ip, local.has(ip)] as const),
  };
}

/**
 * Every frontend wanted, those that other Services wait for first, then what the kernel has besides. Each is compiled
 * when it is asked for: all at once would be most of the memory that a start takes.
 */
export function everything(routes: Routes, state: TableState): DesiredChanges {
  const local = routes.localTargets();
  const addresses = new Set([...local.keys(), ...state.hairpins]);
  return {
    frontends: allFrontends(routes, new Set(state.frontends.keys())),
    hairpins: [...addresses].map((ip) => [ip, local.has(ip)] as const),
  };
}

function* allFrontends(routes: Routes, held: Set<string>): Generator<readonly [string, DesiredFrontend | undefined]> {
  for (const urgent of [true, false]) {
    for (const key of routes.frontends()) {
      if (isUrgent(routes, key) !== urgent) continue;
      const desired = desiredOf(routes, key);
      held.delete(desired[0]);
      yield desired;
    }
  }
  for (const element of held) yield [element, undefined];
}

/** Name service and the API server: what a cold node's pods ask for before anything else. */
const isUrgent = (routes: Routes, frontend: string): boolean =>
  frontend.endsWith(' 53') || routes.ownerOf(frontend) === 'default/kubernetes';

function desiredOf(routes: Routes, frontend: string): readonly [string, DesiredFrontend | undefined] {
  const route = routes.get(frontend);
  if (route) {
    const desired = compileRoute(route);
    return [frontendElement(desired.id), desired];
  }
  const [ip = nodeAddress, protocol = '', port = ''] = frontend.split(' ');
  return [frontendElement({ ip, proto: protocol.toLowerCase() as Proto, port: Number(port) }), undefined];
}

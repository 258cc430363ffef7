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

/** Every frontend wanted, those that other Services wait for first, then what the kernel has besides. */
export function everything(routes: Routes, state: TableState): DesiredChanges {
  const local = routes.localTargets();
  const addresses = new Set([...local.keys(), ...state.hairpins]);
  const keys = [...routes.frontends()];
  const first = keys.filter((key) => isUrgent(routes, key));
  const frontends = new Map([...first, ...keys].map((key) => desiredOf(routes, key)));
  for (const element of state.frontends.keys()) if (!frontends.has(element)) frontends.set(element, undefined);
  return { frontends, hairpins: [...addresses].map((ip) => [ip, local.has(ip)] as const) };
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

import type { Routes } from './backend.ts';

/** How many Service ports get nothing here although they have endpoints, by the policy that wants one on this node. */
export interface NoLocalEndpoints {
  readonly internal: number;
  readonly external: number;
}

/** Counts ports, not addresses, as upstream's metric does. */
export function countNoLocalEndpoints(routes: Pick<Routes, 'frontends' | 'get'>): NoLocalEndpoints {
  const ports = { internal: new Set<string>(), external: new Set<string>() };
  for (const frontend of routes.frontends()) {
    const route = routes.get(frontend);
    if (!route) continue;
    const { namespace, name, portName, kind } = route.origin;
    const isInternal = kind === 'clusterIP';
    if ((isInternal ? route : route.outside)?.verdict !== 'drop') continue;
    ports[isInternal ? 'internal' : 'external'].add(`${namespace}/${name} ${portName} ${route.frontend.protocol}`);
  }
  return { internal: ports.internal.size, external: ports.external.size };
}

import type { Routes } from '../backend.ts';
import type { NftTable } from './apply.ts';
import type { Proto } from './compile.ts';
import { affinityOf, endpointsOf, protoOf, protos } from './compile.ts';
import { endpointNumber } from './keep-chain.ts';
import { NftError } from './nft-program.ts';

/** How often notes are read anew when they change while they are dropped. */
const forgetTries = 3;

/** EXECUTOR: ends the affinity of clients to endpoints that their Service does not have any more. */
export async function forgetClients(table: NftTable, routes: Routes, signal: AbortSignal): Promise<void> {
  const endpoints = endpointNumbers(routes);
  for (const proto of protos) {
    try {
      await forgetClientsOf(proto, table, endpoints, signal);
    } catch (error) {
      if (!(error instanceof NftError) || error.code !== 'NftUnreadable') throw error;
      // Better that clients get another endpoint than that they keep one which is gone.
      await table.flushNotes(proto, signal);
    }
  }
}

async function forgetClientsOf(
  proto: Proto,
  table: NftTable,
  endpoints: ReadonlySet<number>,
  signal: AbortSignal,
): Promise<void> {
  for (let tries = 1; ; tries++) {
    const gone = (await table.readNotes(proto, signal)).filter(({ endpoint }) => !endpoints.has(endpoint));
    if (gone.length === 0) return;
    try {
      await table.dropNotes(proto, gone, signal);
      return;
    } catch (error) {
      if (signal.aborted || tries === forgetTries) throw error;
    }
  }
}

/** Of the endpoints of all Service ports that keep their clients. */
function endpointNumbers(routes: Routes): ReadonlySet<number> {
  const numbers = new Set<number>();
  for (const frontend of routes.frontends()) {
    const route = routes.get(frontend);
    const affinity = route && affinityOf(route);
    if (!affinity) continue;
    const endpoints = [route, route.outside].flatMap((delivery) => (delivery ? endpointsOf(delivery) : []));
    for (const endpoint of endpoints) numbers.add(endpointNumber(affinity, protoOf(route), endpoint));
  }
  return numbers;
}

import { nodeAddress } from '../route-services.ts';
import type { NftTable } from './apply.ts';
import type { Proto } from './compile.ts';
import { frontendElement, protos } from './compile.ts';
import { NftError } from './nft-program.ts';
import type { TableState } from './table-state.ts';

/** How often affinities are read anew when they change while they are dropped. */
const forgetTries = 3;

/** EXECUTOR: ends the affinity of clients to endpoints that their Service does not have any more. */
export async function forgetClients(table: NftTable, state: TableState, signal: AbortSignal): Promise<void> {
  for (const proto of protos) {
    try {
      await forgetClientsOf(proto, table, state, signal);
    } catch (error) {
      if (!(error instanceof NftError) || error.code !== 'NftUnreadable') throw error;
      // Better that clients get another endpoint than that they keep one which is gone.
      await table.flushAffinities(proto, signal);
    }
  }
}

async function forgetClientsOf(proto: Proto, table: NftTable, state: TableState, signal: AbortSignal): Promise<void> {
  for (let tries = 1; ; tries++) {
    const gone = (await table.readAffinities(proto, signal)).filter(({ ip, port, endpoint }) => {
      const own = state.frontends.get(frontendElement({ ip, proto, port }));
      const frontend = own ?? state.frontends.get(frontendElement({ ip: nodeAddress, proto, port }));
      return !frontend || ![...frontend.slots, ...frontend.outsideSlots].includes(endpoint);
    });
    if (gone.length === 0) return;
    try {
      await table.dropAffinities(proto, gone, signal);
      return;
    } catch (error) {
      if (signal.aborted || tries === forgetTries) throw error;
    }
  }
}

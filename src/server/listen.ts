import type { Server } from 'node:net';
import { portHolder } from '../host/port-holder.ts';
import { AgentError, errnoOf } from '../lib/errors.ts';

/**
 * Begins to listen. A place that cannot be had is an AgentError that says who has it and what to do; `keys` set the
 * place. `::` stands for IPv4 too, unless `ipv6Only`.
 */
export async function listen(
  server: Server,
  address: string,
  port: number,
  keys: string,
  kind = 'KubeletConfiguration',
  ipv6Only = false,
): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: address, port, ipv6Only }, () => {
        server.off('error', reject);
        resolve();
      });
    });
  } catch (cause) {
    throw await explain(cause, address, port, `${keys} of the ${kind}`);
  }
}

async function explain(cause: unknown, address: string, port: number, keys: string): Promise<unknown> {
  const place = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
  switch (errnoOf(cause)) {
    case 'EADDRINUSE': {
      const holder = await portHolder(port);
      return new AgentError('PortTaken', `${place} is taken${holder === undefined ? '' : ` by ${holder}`}`, {
        cause,
        hint: `stop what listens there, or set ${keys}; it is tried again without a restart`,
      });
    }
    case 'EADDRNOTAVAIL':
      return new AgentError('NoSuchAddress', `cannot listen at ${place}: no interface has the address`, {
        cause,
        hint: `set ${keys} to what this host has`,
      });
    default:
      return cause;
  }
}

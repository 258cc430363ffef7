import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { Pki } from '../pki/pki.ts';
import { NODES } from './kinds.ts';
import { valueAt } from './objects.ts';
import type { Registry } from './registry.ts';
import { internalError } from './status.ts';

/** How the server reaches an address of a node; tests whose nodes are in networks of their own have another way. */
export type DialNode = (address: string, port: number) => Promise<Socket>;

export const dialDirectly: DialNode = (address, port) =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: address, port });
    socket.once('connect', () => resolve(socket)).once('error', reject);
  });

/** Connections to the HTTPS ports of nodes, with the API server's own client certificate. */
export class NodeConnections {
  readonly #registry: Registry;
  readonly #dial: DialNode;
  readonly #identity: { readonly cert: string; readonly key: string };

  constructor(registry: Registry, pki: Pki, dial: DialNode = dialDirectly) {
    this.#registry = registry;
    this.#dial = dial;
    this.#identity = pki.client('kube-apiserver-kubelet-client', ['system:masters']);
  }

  /** Whether the node has declared the feature. Throws a StatusError when there is no such node. */
  declares(nodeName: string, feature: string): boolean {
    const declared = valueAt(this.#registry.get(NODES, undefined, nodeName), 'status.declaredFeatures');
    return Array.isArray(declared) && declared.includes(feature);
  }

  /** 'address:port' of the node's HTTPS port, as its status says. */
  hostOf(nodeName: string): { readonly address: string; readonly port: number } {
    const node = this.#registry.get(NODES, undefined, nodeName);
    const addresses = (valueAt(node, 'status.addresses') ?? []) as readonly { type: string; address: string }[];
    const address = addresses.find(({ type }) => type === 'InternalIP')?.address;
    const port = Number(valueAt(node, 'status.daemonEndpoints.kubeletEndpoint.Port') ?? 0);
    if (address === undefined || !port) throw internalError(`no preferred addresses found for node ${nodeName}`);
    return { address, port };
  }

  /** A connection on which nothing has been said yet. Nobody checks the node's certificate, as upstream by default. */
  async open(nodeName: string): Promise<TLSSocket> {
    const { address, port } = this.hostOf(nodeName);
    let socket: Socket;
    try {
      socket = await this.#dial(address, port);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw internalError(`error dialing backend: dial tcp ${address}:${port}: ${why}`);
    }
    return new Promise((resolve, reject) => {
      const secure = connectTls({ socket, ...this.#identity, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] });
      secure.once('secureConnect', () => resolve(secure));
      secure.once('error', (error) => reject(internalError(`error dialing backend: ${error.message}`)));
    });
  }
}

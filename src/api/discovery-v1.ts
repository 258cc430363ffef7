import type { ObjectReference, PortProtocol } from './core-v1.ts';
import type { KubeObject } from './meta-v1.ts';

/** discovery.k8s.io/v1, what the proxy half reads. */
export interface EndpointSlice extends KubeObject {
  readonly addressType: 'IPv4' | 'IPv6' | 'FQDN';
  readonly endpoints?: readonly Endpoint[] | null;
  readonly ports?: readonly EndpointPort[] | null;
}

export interface Endpoint {
  readonly addresses: readonly string[];
  /** Absent means ready: the API says to take "unknown" for true. */
  readonly conditions?: { readonly ready?: boolean; readonly serving?: boolean; readonly terminating?: boolean };
  readonly nodeName?: string;
  readonly zone?: string;
  readonly hostname?: string;
  readonly targetRef?: ObjectReference;
  readonly hints?: {
    readonly forZones?: readonly { readonly name: string }[];
    readonly forNodes?: readonly { readonly name: string }[];
  };
}

export interface EndpointPort {
  readonly name?: string;
  readonly port?: number;
  readonly protocol?: PortProtocol;
  readonly appProtocol?: string;
}

export const serviceNameLabel = 'kubernetes.io/service-name';

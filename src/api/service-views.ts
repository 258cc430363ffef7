import type { PortProtocol } from './core-v1.ts';

/*
 * What `keelson svc` shows: made by the proxy half, carried by the admin socket, printed by the commands.
 */

/** What would be written to an empty kernel for one address family: the text that the mode's program takes. */
export interface ServicePlan {
  readonly family: 'IPv4' | 'IPv6';
  readonly mode: string;
  readonly text: string;
}

/** How the kernel differs from what it shall hold: `- …` is too much, `+ …` is missing; none when it is in step. */
export interface ServiceDiff {
  readonly family: 'IPv4' | 'IPv6';
  readonly mode: string;
  readonly lines: readonly string[];
  /** Whether Services were programmed while the kernel was read, so that lines may tell of what was on its way. */
  readonly isMoving: boolean;
}

/** `untouched`: no Service has it. `reject`: refused at once. `drop`: nobody answers. */
export type TraceVerdict = 'forward' | 'reject' | 'drop' | 'untouched';

/** One decision, in the order in which they are made. */
export interface TraceStep {
  /** What is decided, for programs; none of them is renamed. */
  readonly about: TraceTopic;
  /** Which object decides: `Service d/web`; undefined where none does. */
  readonly object?: string;
  /** What of that object decides: `spec.internalTrafficPolicy: Local`. */
  readonly field?: string;
  readonly sentence: string;
}

export type TraceTopic =
  | 'client'
  | 'frontend'
  | 'conflict'
  | 'sources'
  | 'policy'
  | 'endpoints'
  | 'withdrawn'
  | 'hints'
  | 'fallback'
  | 'affinity'
  | 'masquerade';

export interface TraceEndpoint {
  readonly ip: string;
  readonly port: number;
  /** What its EndpointSlice says it is: `Pod d/web-1`. */
  readonly target?: string;
  readonly node?: string;
  readonly isLocal: boolean;
  /** Whether it sees an address of the node instead of the client's. */
  readonly masqueraded: boolean;
}

export interface PacketTrace {
  /** Absent: the Service has no address of any family. */
  readonly family?: 'IPv4' | 'IPv6';
  /** As it was asked for, with the address where one is known: `pod d/web-1 (10.244.0.5)`. */
  readonly client: string;
  /** Absent: there is none, and the steps say why. */
  readonly destination?: { readonly ip: string; readonly protocol: PortProtocol; readonly port: number };
  /** Which Service has the destination, and in what capacity. */
  readonly service?: {
    readonly namespace: string;
    readonly name: string;
    /** '' for an unnamed one. */
    readonly portName: string;
    readonly kind: 'clusterIP' | 'externalIP' | 'loadBalancer' | 'nodePort';
  };
  readonly verdict: TraceVerdict;
  /** Every one that a new connection may get; not empty exactly with `forward`. */
  readonly endpoints: readonly TraceEndpoint[];
  readonly steps: readonly TraceStep[];
  /** What of the kernel's rules carries it, as the backend names them. */
  readonly rules: readonly string[];
  /** Where else the same Service port answers: `192.0.2.80:80/TCP`. */
  readonly alsoAt: readonly string[];
}

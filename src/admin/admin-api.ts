import type { PacketTrace, ServiceDiff, ServicePlan } from '../api/service-views.ts';

/*
 * What the admin socket answers: plain JSON, times in RFC 3339. `GET /v1/pods` is an AdminPodList;
 * `/v1/services/plan` an AdminServicePlan; `/v1/services/diff` an AdminServiceDiff; and
 * `/v1/services/trace?client=…&target=…&protocol=…` an AdminServiceTrace, all of it in the words of `keelson svc trace`.
 */

export interface AdminPodList {
  /** The daemon's clock when it answered. */
  readonly now: string;
  readonly items: readonly AdminPod[];
}

export interface AdminPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly source: 'api' | 'file';
  readonly phase: string;
  /** One word, as in kubectl's STATUS column. */
  readonly status: string;
  /** Whether the condition Ready is True. */
  readonly isReady: boolean;
  /** e.g. '1/2': containers that are ready, and how many there are. */
  readonly ready: string;
  readonly restarts: number;
  readonly lastRestart?: string;
  readonly created?: string;
  readonly ip?: string;
  readonly why?: AdminWhy;
  readonly containers: readonly AdminContainer[];
}

/** What the pod waits for. */
export interface AdminWhy {
  readonly step: string;
  readonly sentence: string;
  readonly since: string;
  /** When the next try is due. */
  readonly until?: string;
}

export interface AdminContainer {
  readonly name: string;
  readonly kind: 'init' | 'regular' | 'ephemeral';
  readonly image: string;
  readonly id?: string;
  readonly ready: boolean;
  readonly restarts: number;
  readonly state: 'waiting' | 'running' | 'terminated';
  readonly reason?: string;
  readonly message?: string;
  readonly exitCode?: number;
  /** Since when it is in this state, where that is known. */
  readonly since?: string;
  readonly probes: readonly AdminProbe[];
}

export interface AdminProbe {
  readonly type: 'liveness' | 'readiness' | 'startup';
  /** After its thresholds; 'none' before. */
  readonly verdict: 'success' | 'failure' | 'none';
  /** Since when the verdict is what it is. */
  readonly since?: string;
  /** The last answer, whether or not it has changed the verdict; 'error' is that nobody could be asked. */
  readonly last?: {
    readonly kind: 'success' | 'warning' | 'failure' | 'error' | 'starved';
    readonly message: string;
    readonly at: string;
  };
}

/** How many Services and EndpointSlices have changes that are not programmed yet. */
export interface AdminPending {
  readonly services: number;
  readonly endpoints: number;
}

export interface AdminServicePlan {
  readonly pending: AdminPending;
  /** By address family. */
  readonly items: readonly ServicePlan[];
}

export interface AdminServiceDiff {
  readonly pending: AdminPending;
  readonly items: readonly ServiceDiff[];
}

export interface AdminServiceTrace {
  readonly pending: AdminPending;
  /** One for each destination that the target stands for, never none. */
  readonly items: readonly PacketTrace[];
}

/** The body of every answer that is not 200. */
export interface AdminError {
  readonly message: string;
  /** What to do about it. */
  readonly hint?: string;
}

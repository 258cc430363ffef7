import { networkInterfaces } from 'node:os';
import type { AdminServiceDiff, AdminServicePlan, AdminServiceTrace } from '../admin/admin-api.ts';
import type { Answer } from '../admin/admin-server.ts';
import type { Service } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import { AgentError } from '../lib/errors.ts';
import { Semaphore } from '../lib/semaphore.ts';
import type { DualProxier } from '../proxy/dual-proxier.ts';
import type { FindPod } from '../proxy/trace-question.ts';
import { badQuestion, parseClient, parseProtocol, parseTarget } from '../proxy/trace-question.ts';

export interface ServiceAnswersInput {
  readonly proxier: Pick<DualProxier, 'plan' | 'diff' | 'trace' | 'pending'>;
  readonly services: () => Iterable<Service>;
  /** All slices of a Service, by its namespace/name. */
  readonly slicesOf: (serviceKey: string) => readonly EndpointSlice[];
  readonly findPod: FindPod;
  /** Default: of this machine. */
  readonly hostAddresses?: () => readonly string[];
}

export type TraceInput = Omit<ServiceAnswersInput, 'proxier'> & {
  readonly proxier: Pick<DualProxier, 'trace' | 'pending'>;
};

/** Reading the kernel back costs the more the more Services there are: one after the other. */
const readers = 1;

/** What the admin socket answers about Services, by path; see admin-api.ts. */
export function serviceAnswers(input: ServiceAnswersInput): Record<string, Answer> {
  const { proxier } = input;
  const reading = new Semaphore(readers);
  return {
    '/v1/services/plan': () => planOf(proxier),
    '/v1/services/diff': async (_query, signal): Promise<AdminServiceDiff> => {
      const items = await reading.run(signal, () => proxier.diff(signal));
      return { pending: proxier.pending, items };
    },
    '/v1/services/trace': (query) => {
      const [client, target] = ['client', 'target'].map((name) => query.get(name) ?? missing(name));
      return traceOf(input, { client: client ?? '', target: target ?? '', protocol: query.get('protocol') ?? '' });
    },
  };
}

export const planOf = (proxier: Pick<DualProxier, 'plan' | 'pending'>): AdminServicePlan => ({
  pending: proxier.pending,
  items: proxier.plan(),
});

/** Throws an AgentError `BadQuestion`. */
export function traceOf(
  { proxier, services, slicesOf, findPod, hostAddresses = ownAddresses }: TraceInput,
  { client, target, protocol }: { readonly client: string; readonly target: string; readonly protocol: string },
): AdminServiceTrace {
  const question = {
    ...{ client: parseClient(client, findPod), target: parseTarget(target) },
    ...{ asked: target, protocol: parseProtocol(protocol) },
  };
  return { pending: proxier.pending, items: proxier.trace(question, { services, slicesOf, hostAddresses }) };
}

function missing(name: string): never {
  throw new AgentError(badQuestion, `the question says no ${name}`);
}

const ownAddresses = (): readonly string[] =>
  Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address));

import { anything, type Complain, isRecord, list, map, object, type Schema, string, text } from '../lib/schema.ts';
import type { SourcePath } from '../lib/yaml-source.ts';
import { isDnsLabel } from './validate-pod-faults.ts';
import { podSchema } from './validate-pod-schema.ts';

/*
 * What a pod from the API server has to be so that nothing that looks at all pods of the node can stumble over it. The
 * server has validated it: this is for what gets past the server, and for what somebody puts in its place.
 */

const members = map(anything);
const containerStatuses = list(
  object({ name: string, state: members, lastState: members, containerID: string, resources: members }),
);
const address = object({ ip: string });

const status = object({
  phase: string,
  message: string,
  reason: string,
  startTime: string,
  hostIP: string,
  podIP: string,
  podIPs: list(address),
  hostIPs: list(address),
  conditions: list(object({ type: string, status: string })),
  initContainerStatuses: containerStatuses,
  containerStatuses,
  ephemeralContainerStatuses: containerStatuses,
  resources: members,
  allocatedResources: members,
});

const named = list(object({ name: text('a name of lower-case letters, digits and dashes', isDnsLabel) }));
/** Names that become parts of paths. */
const names = object({ containers: named, initContainers: named, ephemeralContainers: named, volumes: named });

export const apiPodSchema: Schema<object> = {
  expects: 'a pod',
  read: (value, path, complain) => {
    const pod = isRecord(value) ? value : {};
    const at = (field: string) => [...path, field];
    const [metadata, spec] = [pod['metadata'], pod['spec']].map((part) => (isRecord(part) ? part : {}));
    requireIn(metadata, 'uid', at('metadata'), complain);
    requireIn(spec, 'containers', at('spec'), complain);
    names.read(spec, at('spec'), complain);
    status.read(pod['status'] ?? {}, at('status'), complain);
    return podSchema.read(value, path, complain);
  },
};

function requireIn(part: unknown, field: string, at: SourcePath, complain: Complain): void {
  if (isRecord(part) && part[field] !== undefined && part[field] !== '') return;
  complain({ about: 'value', path: [...at, field], message: 'is missing' });
}

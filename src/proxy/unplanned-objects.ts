import { serviceNameLabel } from '../api/discovery-v1.ts';
import type { DecodedObjects, ObjectProblem } from './decode-objects.ts';
import { clusterIpsOf, headlessLabel, proxyNameLabel } from './read-service.ts';

/**
 * Objects of files that a cluster would have completed or brought together, and that count for nothing as they are: a
 * Service without an address, a slice of no Service.
 */
export function unplannedObjects({ services, slices }: DecodedObjects): readonly ObjectProblem[] {
  const problems: ObjectProblem[] = [];
  for (const [key, { object, place }] of services) {
    const { spec, metadata } = object;
    const labels = metadata.labels ?? {};
    const hasNone = spec.type === 'ExternalName' || spec.clusterIP === 'None';
    if (hasNone || headlessLabel in labels || proxyNameLabel in labels || clusterIpsOf(object).length > 0) continue;
    const [namespace, name] = key.split('/');
    const message = `Service ${key}: spec.clusterIP is empty: nothing is programmed for it`;
    const hint = `write an address, or give what the cluster has: kubectl get service ${name} -n ${namespace} -o yaml`;
    problems.push({ place, message, hint, isFault: true });
  }
  for (const [key, { object, place }] of slices) {
    const service = object.metadata.labels?.[serviceNameLabel];
    const owner = `${object.metadata.namespace}/${service}`;
    const hint = `label it with ${serviceNameLabel}: the name of its Service`;
    if (typeof service !== 'string' || service === '') {
      const message = `EndpointSlice ${key}: metadata.labels[${JSON.stringify(serviceNameLabel)}] is empty: it is of no Service`;
      problems.push({ place, message, hint, isFault: true });
    } else if (!services.has(owner)) {
      const message = `EndpointSlice ${key}: its Service ${owner} is not among the objects`;
      problems.push({ place, message, hint: 'give the Service too', isFault: false });
    }
  }
  return problems;
}

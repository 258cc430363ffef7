import type { Pod, RuntimeClass } from '../api/core-v1.ts';
import { AgentError } from '../lib/errors.ts';

/**
 * Which of the runtime's handlers a pod is to run under: '' is the default one. `known` is what the API
 * server has by name; undefined on a node without one. There the class's name is taken for the
 * handler's: nobody can say what else it stands for, and to run the pod under the default handler would
 * take away the isolation it asks for. A handler that the runtime does not have is the runtime's to refuse.
 */
export function runtimeHandler(pod: Pod, known: ReadonlyMap<string, RuntimeClass> | undefined): string {
  const name = pod.spec.runtimeClassName;
  if (!name) return '';
  if (!known) return name;
  const found = known.get(name);
  if (found) return found.handler;
  throw new AgentError('RuntimeClassNotFound', `runtimeclass.node.k8s.io "${name}" not found`, {
    hint: 'the pod starts as soon as the RuntimeClass is there',
    retryable: true,
  });
}

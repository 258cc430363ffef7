import type { AdminPod, AdminPodList, AdminWhy } from '../admin/admin-api.ts';
import { AgentError } from '../lib/errors.ts';
import { humanDuration } from '../lib/human-duration.ts';
import { yamlText } from '../lib/yaml-text.ts';
import type { GetOptions } from './program.ts';
import { table } from './table.ts';

/** What `keelson get pods` prints. Fails when the one pod that was asked for is not here. */
export function getPods(list: AdminPodList, options: GetOptions): string {
  const { name, namespace, allNamespaces, output } = options;
  const inNamespace = list.items.filter((p) => allNamespaces || p.namespace === namespace);
  const items = inNamespace.filter((p) => name === undefined || p.name === name);
  if (name !== undefined && items.length === 0) {
    const place = allNamespaces ? 'on this node' : `in namespace ${namespace} on this node`;
    throw new AgentError('NotFound', `there is no pod ${name} ${place}`);
  }
  if (output === 'json') return JSON.stringify({ ...list, items }, undefined, 2);
  if (output === 'yaml') return yamlText({ ...list, items }).trimEnd();
  if (items.length === 0) return nothing(list, options);
  const now = Date.parse(list.now);
  const wide = output === 'wide';
  const head = ['NAME', 'READY', 'STATUS', 'RESTARTS', 'AGE', ...(wide ? ['IP', 'SOURCE'] : []), 'WHY'];
  const rows = items.map((pod) => [...(allNamespaces ? [pod.namespace] : []), ...row(pod, wide, now)]);
  return table([[...(allNamespaces ? ['NAMESPACE'] : []), ...head], ...rows]);
}

function nothing(list: AdminPodList, { namespace, allNamespaces }: GetOptions): string {
  if (allNamespaces || list.items.length === 0) return 'No pods run on this node.';
  return `No pods of namespace ${namespace} run on this node; ${list.items.length} of others do: keelson get pods -A`;
}

function row(pod: AdminPod, wide: boolean, now: number): string[] {
  const age = pod.created ? humanDuration(now - Date.parse(pod.created)) : '<unknown>';
  const ago = pod.lastRestart ? ` (${humanDuration(now - Date.parse(pod.lastRestart))} ago)` : '';
  return [
    ...[pod.name, pod.ready, pod.status, `${pod.restarts}${ago}`, age],
    ...(wide ? [pod.ip ?? '<none>', pod.source] : []),
    pod.why ? whyText(pod.why, now) : '',
  ];
}

/** The sentence, for how long it has been so, and when something will be done about it. */
export function whyText({ sentence, since, until }: AdminWhy, now: number): string {
  // A message of many lines would tear the table apart.
  const line = sentence.replaceAll(/\s*\n\s*/g, ' ').trim();
  const due = until === undefined ? 0 : Date.parse(until) - now;
  const next = due > 0 ? `, until in ${humanDuration(due)}` : '';
  return `${line}, for ${humanDuration(now - Date.parse(since))}${next}`;
}

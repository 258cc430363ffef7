import type { AdminContainer, AdminPod, AdminPodList, AdminProbe } from '../admin/admin-api.ts';
import { AgentError } from '../lib/errors.ts';
import { humanDuration } from '../lib/human-duration.ts';
import { whyText } from './get-pods.ts';
import { table } from './table.ts';

/** What `keelson why` prints of 'namespace/name' or a name. Fails when there is no such pod, or more than one. */
export function whyPod(list: AdminPodList, asked: string): string {
  const pod = findPod(list, asked);
  const now = Date.parse(list.now);
  const head = `${pod.namespace}/${pod.name}: ${pod.isReady ? 'ready' : pod.status}`;
  const why = pod.why ? [`  ${whyText(pod.why, now)}`] : [];
  const rows = pod.containers.map((c) => [`  ${c.name}`, c.kind, stateText(c, now), probeTexts(c, now)]);
  return [head, ...why, '', table([['  CONTAINER', 'KIND', 'STATE', 'PROBES'], ...rows])].join('\n');
}

function findPod({ items }: AdminPodList, asked: string): AdminPod {
  const [namespace, name] = asked.includes('/') ? asked.split('/', 2) : [undefined, asked];
  const found = items.filter((p) => p.name === name && (namespace === undefined || p.namespace === namespace));
  const inDefault = found.filter((p) => p.namespace === 'default');
  const candidates = namespace === undefined && inDefault.length > 0 ? inDefault : found;
  const [pod, another] = candidates;
  if (!pod) throw new AgentError('NotFound', `there is no pod ${asked} on this node`, { hint: 'keelson get pods -A' });
  if (another && another.namespace !== pod.namespace) {
    const names = candidates.map((p) => `${p.namespace}/${p.name}`).join(', ');
    throw new AgentError('Ambiguous', `more than one pod has the name ${asked}: ${names}`);
  }
  return pod;
}

function stateText({ state, reason, exitCode, since, restarts }: AdminContainer, now: number): string {
  const what = exitCode === undefined ? (reason ?? '') : `exit code ${exitCode}, ${reason ?? ''}`;
  const long = since ? ` for ${humanDuration(now - Date.parse(since))}` : '';
  const again = restarts > 0 ? `, ${restarts} restart${restarts === 1 ? '' : 's'}` : '';
  return `${state}${what ? ` (${what})` : ''}${long}${again}`;
}

const probeTexts = ({ probes }: AdminContainer, now: number): string => probes.map((p) => probeText(p, now)).join('; ');

function probeText({ type, verdict, since, last }: AdminProbe, now: number): string {
  const long = since ? ` for ${humanDuration(now - Date.parse(since))}` : '';
  const head = verdict === 'none' ? `${type}: no verdict yet` : `${type}: ${verdict}${long}`;
  if (!last) return head;
  const said = last.message.replaceAll(/\s*\n\s*/g, ' ').trim();
  const ago = humanDuration(now - Date.parse(last.at));
  return `${head} (${last.kind} ${ago} ago${said ? `: ${said}` : ''})`;
}

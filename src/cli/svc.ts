import type { AdminPending, AdminServiceDiff, AdminServicePlan, AdminServiceTrace } from '../admin/admin-api.ts';
import type { PacketTrace, TraceEndpoint, TraceStep } from '../api/service-views.ts';
import { AgentError } from '../lib/errors.ts';
import type { SvcPlanOptions } from './svc-command.ts';
import { table } from './table.ts';

/** What `keelson svc plan` prints: the text that the mode's program takes, each family behind a comment. */
export function svcPlan({ items }: AdminServicePlan, { family, output }: SvcPlanOptions): string {
  const wanted = items.filter((one) => family === undefined || one.family === family);
  if (wanted.length === 0) throw new AgentError('NotFound', `${family} is not carried on this node`);
  if (output === 'json') return JSON.stringify({ items: wanted }, undefined, 2);
  return wanted.map((one) => `# ${one.mode}, ${one.family}\n${one.text}`.trimEnd()).join('\n');
}

/** What `keelson svc diff` prints, and whether the kernel is in step. */
export function svcDiff(
  answer: AdminServiceDiff,
  output: 'text' | 'json',
): { readonly inStep: boolean; readonly text: string } {
  const inStep = answer.items.every(({ lines }) => lines.length === 0);
  if (output === 'json') return { inStep, text: JSON.stringify(answer, undefined, 2) };
  const text = answer.items.flatMap(({ mode, family, lines, isMoving }) => [
    `${mode}, ${family}: ${lines.length === 0 ? 'in step' : `${lines.length} line${lines.length === 1 ? '' : 's'}`}`,
    ...lines,
    ...(isMoving && lines.length > 0 ? ['  Services were programmed meanwhile: some of it may be on its way'] : []),
  ]);
  return { inStep, text: [...text, ...pendingLines(answer.pending)].join('\n') };
}

/** What `keelson svc trace` prints. */
export function svcTrace(answer: AdminServiceTrace, output: 'text' | 'json'): string {
  if (output === 'json') return JSON.stringify(answer, undefined, 2);
  return [...answer.items.map(traceText), ...pendingLines(answer.pending)].join('\n\n');
}

function pendingLines({ services, endpoints }: AdminPending): readonly string[] {
  if (services + endpoints === 0) return [];
  return [`changes not programmed yet: ${services} of Services, ${endpoints} of EndpointSlices`];
}

function traceText(trace: PacketTrace): string {
  const { client, destination, steps, endpoints, rules, alsoAt } = trace;
  const to = destination ? ` → ${addressText(destination)}/${destination.protocol}` : '';
  const parts = [`${client}${to}: ${fate(trace)}`, table(steps.map(stepRow))];
  if (endpoints.length > 0) {
    const rows = endpoints.map((one) => [`  ${addressText(one)}`, one.target ?? '', where(one), seen(one)]);
    parts.push(table([['  ENDPOINT', 'TARGET', 'NODE', 'SEES'], ...rows]));
  }
  if (rules.length > 0) parts.push(['  RULES', ...rules.map((rule) => `  ${rule}`)].join('\n'));
  if (alsoAt.length > 0) parts.push(`  also at: ${alsoAt.join('; ')}`);
  return parts.join('\n\n');
}

function fate({ verdict, endpoints }: PacketTrace): string {
  switch (verdict) {
    case 'forward':
      return endpoints.length === 1 ? 'forwarded to the only endpoint' : `forwarded to one of ${endpoints.length}`;
    case 'reject':
      return 'rejected, the client hears so at once';
    case 'drop':
      return 'dropped, the client waits in vain';
    case 'untouched':
      return "no Service's, nothing is done with it";
    default:
      return verdict satisfies never;
  }
}

const stepRow = ({ about, object, field, sentence }: TraceStep): readonly string[] => {
  const decides = [object, field].filter((one) => one !== undefined).join(', ');
  return [`  ${about}`, `${sentence}${decides === '' ? '' : ` (${decides})`}`];
};

const where = ({ node, isLocal }: TraceEndpoint): string =>
  node === undefined ? '' : isLocal ? `${node}, this one` : node;
const seen = ({ masqueraded }: TraceEndpoint): string => (masqueraded ? 'an address of this node' : 'the client');

const addressText = ({ ip, port }: { readonly ip: string; readonly port: number }): string =>
  `${ip.includes(':') ? `[${ip}]` : ip}:${port}`;

import type { ServerResponse } from 'node:http';
import { answerText } from './answer.ts';
import type { Endpoint, ServedRequest } from './endpoint.ts';

/** One thing that can be wrong: its name, and the sentence that says what; undefined when all is well. */
export interface HealthCheck {
  readonly name: string;
  readonly problem: () => string | undefined;
}

/** The text and status of `/healthz`: 'ok', or every check with what is wrong with it. */
export function healthReport(
  checks: readonly HealthCheck[],
  query: URLSearchParams,
): { readonly status: number; readonly text: string } {
  const excluded = new Set(query.getAll('exclude'));
  const lines: string[] = [];
  let failed = false;
  for (const { name, problem } of checks) {
    const said = excluded.has(name) ? undefined : problem();
    failed ||= said !== undefined;
    if (excluded.has(name)) lines.push(`[+]${name} excluded: ok`);
    else lines.push(said === undefined ? `[+]${name} ok` : `[-]${name} failed: ${said}`);
  }
  if (failed) return { status: 500, text: `${lines.join('\n')}\nhealthz check failed\n` };
  return { status: 200, text: query.has('verbose') ? `${lines.join('\n')}\nhealthz check passed\n` : 'ok' };
}

/** `/healthz`, and every check by itself below it. */
export function healthEndpoints(checks: readonly HealthCheck[]): Endpoint[] {
  const report = async ({ url }: ServedRequest, response: ServerResponse) => {
    const { status, text } = healthReport(checks, url.searchParams);
    answerText(response, status, text);
  };
  const single = ({ name, problem }: HealthCheck): Endpoint => ({
    path: `/healthz/${name}`,
    methods: ['GET'],
    handle: async (_request, response) => {
      const said = problem();
      if (said === undefined) answerText(response, 200, 'ok');
      else answerText(response, 500, `internal server error: ${said}\n`);
    },
  });
  return [{ path: '/healthz', methods: ['GET'], handle: report }, ...checks.map(single)];
}

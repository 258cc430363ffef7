import { answerText } from './answer.ts';
import { type Endpoint, HttpError } from './endpoint.ts';

/** One thing that can be wrong: its name, and the sentence that says what; undefined when all is well. */
export interface HealthCheck {
  readonly name: string;
  readonly problem: () => string | undefined;
}

/** 'ok', or every check with what is wrong with it. */
function healthReport(
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

/** What is answered at a path, '/healthz' or a check below it; undefined for any other. */
export function healthAnswer(
  checks: readonly HealthCheck[],
  path: string,
  query: URLSearchParams,
): { readonly status: number; readonly text: string } | undefined {
  if (/^\/healthz\/?$/.test(path)) return healthReport(checks, query);
  const check = checks.find(({ name }) => path === `/healthz/${name}`);
  if (!check) return undefined;
  const said = check.problem();
  return said === undefined ? { status: 200, text: 'ok' } : { status: 500, text: `internal server error: ${said}\n` };
}

export function healthEndpoint(checks: readonly HealthCheck[]): Endpoint {
  return {
    path: '/healthz/*',
    methods: ['GET'],
    handle: async ({ url }, response) => {
      const answer = healthAnswer(checks, url.pathname, url.searchParams);
      if (!answer) throw new HttpError(404, '404 page not found\n');
      answerText(response, answer.status, answer.text);
    },
  };
}

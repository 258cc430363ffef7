import { answerText } from './answer.ts';
import type { Endpoint } from './endpoint.ts';

const debugging = ['run', 'exec', 'attach', 'portForward', 'containerLogs', 'runningpods', 'debug/pprof', 'logs'];
const everyMethod = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/** A path that an option of the configuration has closed, whatever is asked of it. */
export function disabledEndpoint(path: string, message: string): Endpoint {
  return {
    path,
    methods: everyMethod,
    handle: async (_request, response) => answerText(response, 405, `${message}\n`),
  };
}

/** What `enableDebuggingHandlers: false` closes. */
export const disabledEndpoints = (): Endpoint[] =>
  debugging.map((path) => disabledEndpoint(`/${path}/*`, 'Debug endpoints are disabled.'));

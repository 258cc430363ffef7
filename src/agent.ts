import type { Config } from './config/config.ts';
import { AgentError } from './lib/errors.ts';
import type { Log } from './lib/log.ts';

/** Builds the whole daemon out of the config and runs it until the signal is aborted. */
export async function runAgent(_config: Config, _log: Log, _signal: AbortSignal): Promise<void> {
  throw new AgentError('NotAssembled', 'not assembled yet');
}

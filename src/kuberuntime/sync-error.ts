import { AgentError } from '../lib/errors.ts';

/** A container cannot start, for a reason that belongs into its status. `code` is that reason. */
export class ContainerError extends AgentError {
  constructor(reason: string, message: string, options: { cause?: unknown } = {}) {
    super(reason, message, options);
  }
}

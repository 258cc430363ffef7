/**
 * Errors carry facts: a stable `code` for programs, a sentence for people, the cause, and where it
 * helps a `hint` that says what to do. Handle an error, or wrap it and throw; log it once, at the
 * place that decides.
 */
export class AgentError extends Error {
  readonly code: string;
  readonly hint: string | undefined;
  /** Whether the same call may succeed later without anyone changing anything. */
  readonly retryable: boolean;

  constructor(code: string, message: string, options: { cause?: unknown; hint?: string; retryable?: boolean } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.hint = options.hint;
    this.retryable = options.retryable ?? false;
  }
}

/** Whether the error only says that somebody asked us to stop: check this first in every catch. */
export function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}

/** The message of an error with those of its causes, without repeating what the outer one quotes already. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : messageOf(error.cause);
  return cause && !error.message.includes(cause) ? `${error.message}: ${cause}` : error.message;
}

/** The message and, where there is one, the remedy in parentheses: for readers who see one text, as in events. */
export function adviceOf(error: unknown): string {
  return withHint(messageOf(error), error instanceof AgentError ? error.hint : undefined);
}

export const withHint = (message: string, hint: string | undefined): string =>
  hint === undefined ? message : `${message} (${hint})`;

/** What a log line holds of an error. */
export function errorFields(error: unknown): { err: string; code?: string; hint?: string } {
  const fields: { err: string; code?: string; hint?: string } = { err: messageOf(error) };
  if (error instanceof AgentError) {
    fields.code = error.code;
    if (error.hint !== undefined) fields.hint = error.hint;
  }
  return fields;
}

/** The errno code ('ENOENT', …) of a system error, or undefined. */
export function errnoOf(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

/** Why a file that somebody has named cannot be read, to go behind its name. */
export function unreadableText(error: unknown): string {
  const code = errnoOf(error);
  if (code === 'ENOENT') return 'there is no such file';
  return code === 'EISDIR' ? 'is a folder: name a file in it' : `cannot be read: ${code ?? messageOf(error)}`;
}

import { AgentError } from '../lib/errors.ts';

/** Something to say about the configuration: where, about what, and what may help. */
export interface ConfigProblem {
  /** Absent: the problem is with a flag, which `path` names. */
  readonly file?: string;
  readonly line?: number;
  readonly column?: number;
  /** The key's path (`crashLoopBackOff.maxContainerRestartPeriod`), or the flag (`--node-ip`); '' for the whole file. */
  readonly path: string;
  readonly message: string;
  readonly hint?: string;
}

/** 'file:line:column: path: message (hint)', the form that editors jump to. */
export function problemText(problem: ConfigProblem): string {
  const place = [problem.file, problem.line, problem.column].filter((part) => part !== undefined).join(':');
  const parts = [place, problem.path, problem.message].filter((part) => part !== '');
  return parts.join(': ') + (problem.hint ? ` (${problem.hint})` : '');
}

/** The configuration is refused: its message is one line for every problem. */
export class ConfigError extends AgentError {
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    super('ConfigInvalid', problems.map(problemText).join('\n'), {
      hint: 'correct what is named above; `keelson check --config FILE` tells whether a file is good',
    });
    this.problems = problems;
  }
}

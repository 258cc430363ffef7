import { ConfigError, problemText } from '../config/config-error.ts';
import { loadConfig } from '../config/load-config.ts';
import { noOptions } from '../config/run-options.ts';

export interface CheckResult {
  readonly good: boolean;
  /** What to print, a line each. */
  readonly lines: readonly string[];
}

/** `keelson check`: everything that is wrong with the files, and what in them has no effect. */
export function checkFiles(files: readonly string[]): CheckResult {
  try {
    const { warnings } = loadConfig({ ...noOptions, config: files });
    // What the flags will say is not known here.
    const aboutFiles = warnings.filter((warning) => warning.file !== undefined);
    return { good: true, lines: [...aboutFiles.map((w) => `warning: ${problemText(w)}`), `${files.join(', ')}: good`] };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { good: false, lines: error.problems.map(problemText) };
  }
}

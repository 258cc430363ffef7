import { CommanderError } from 'commander';
import { pino } from 'pino';
import { askPods, askServiceDiff, askServicePlan, askServiceTrace } from './cli/admin-client.ts';
import { checkFiles } from './cli/check.ts';
import { cleanupLines } from './cli/cleanup.ts';
import { getPods } from './cli/get-pods.ts';
import { buildProgram, splitFlags } from './cli/program.ts';
import { svcDiff, svcPlan, svcTrace } from './cli/svc.ts';
import type { SvcFiles, SvcPlanOptions, SvcTraceOptions } from './cli/svc-command.ts';
import { textLine } from './cli/text-line.ts';
import { whyPod } from './cli/why-pod.ts';
import type { Config } from './config/config.ts';
import { problemText } from './config/config-error.ts';
import { loadConfig } from './config/load-config.ts';
import type { RunOptions } from './config/run-options.ts';
import { AgentError, errorFields, isAbort, messageOf } from './lib/errors.ts';
import type { Log } from './lib/log.ts';
import { version } from './version.ts';

/**
 * The command line → what it asks for → an exit status. The only place where the process ends itself.
 * 0: done, or stopped by a signal; 1: refused or failed, after one sentence on stderr that says why.
 */
async function main(argv: readonly string[]): Promise<number> {
  let status = 0;
  const program = buildProgram({
    run: runDaemon,
    check: (files) => {
      const { good, lines } = checkFiles(files);
      for (const line of lines) print(good ? 1 : 2, line);
      status = good ? 0 : 1;
    },
    get: async (options) => print(1, getPods(await askPods(options.socket), options)),
    why: async (options) => print(1, whyPod(await askPods(options.socket), options.pod)),
    cleanup: async (options) => {
      const { cleanUp } = await import('./assembly/proxy-cleanup.ts');
      const { good, lines } = cleanupLines(await cleanUp(options));
      for (const line of lines) print(1, line);
      status = good ? 0 : 1;
    },
    svc: async (options) => {
      const { socket, output } = options;
      if (options.what !== 'diff' && options.files) {
        status = await showFiles(options, options.files);
        return;
      }
      if (options.what === 'plan') return print(1, svcPlan(await askServicePlan(socket), options));
      if (options.what === 'diff') {
        const { inStep, text } = svcDiff(await askServiceDiff(socket), output);
        print(1, text);
        status = inStep ? 0 : 1;
        return;
      }
      const { client, target, protocol = '' } = options;
      print(1, svcTrace(await askServiceTrace(socket, { client, target, protocol }), output));
    },
    version: () => print(1, `keelson ${version} (Node.js ${process.version})`),
  });
  try {
    await program.parseAsync(splitFlags(argv));
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    if (isAbort(error)) return status;
    explain(error);
    return 1;
  }
  return status;
}

/** `keelson svc plan|trace --filename`; 1 when something of the objects is left out. */
async function showFiles(options: SvcPlanOptions | SvcTraceOptions, files: SvcFiles): Promise<number> {
  const { planFiles } = await import('./assembly/plan-files.ts');
  const planned = await planFiles(files, options.what === 'plan' ? options.family : undefined);
  for (const line of planned.problems) print(2, line);
  if (options.what === 'plan') print(1, svcPlan(planned.plan(), options));
  else {
    const { client, target, protocol = '', output } = options;
    print(1, svcTrace(planned.trace({ client, target, protocol }), output));
  }
  return planned.isWhole ? 0 : 1;
}

async function runDaemon(options: RunOptions): Promise<void> {
  const { config, warnings } = loadConfig(options);
  const log = openLog(config);
  for (const warning of warnings) log.warn({ warning: problemText(warning) }, 'configuration warning');
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      // Somebody who asks twice does not want to wait for what is still going on.
      if (stop.signal.aborted) process.exit(1);
      log.info({ signal }, 'stopping');
      stop.abort();
    });
  }
  process.on('uncaughtException', (error) => {
    log.error({ ...errorFields(error), stack: error.stack }, 'stopping: a fault in keelson itself');
    process.exit(1);
  });
  const { runAgent } = await import('./agent.ts');
  await runAgent(config, log, stop.signal);
}

/** To stderr, written at once, so that the last words before a crash are there. */
function openLog(config: Config): Log {
  const stderr = pino.destination({ fd: 2, sync: true });
  const text = { write: (line: string) => stderr.write(textLine(line)) };
  return pino(
    {
      level: config.flags.verbosity >= 4 ? 'debug' : 'info',
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
    },
    config.keelson.log.format === 'text' ? text : stderr,
  );
}

function explain(error: unknown): void {
  const message = messageOf(error);
  print(2, message.includes('\n') ? `keelson: the configuration is refused:\n${message}` : `keelson: ${message}`);
  if (error instanceof AgentError && error.hint) print(2, `  ${error.hint}`);
  if (!(error instanceof AgentError) && error instanceof Error) print(2, error.stack ?? '');
}

/** Not before something is printed: a stream makes its pipe one that does not wait, and the log's shall. */
const printedTo = new Set<NodeJS.WriteStream>();

function print(fd: 1 | 2, line: string): void {
  const stream = fd === 1 ? process.stdout : process.stderr;
  // A reader that went away is no fault of ours.
  if (!printedTo.has(stream)) stream.on('error', () => {});
  printedTo.add(stream);
  stream.write(`${line}\n`);
}

/** A pipe takes 64 KiB; the rest of what was printed waits for its reader. */
async function printed(): Promise<void> {
  for (const stream of printedTo) {
    if (stream.writableLength > 0) await new Promise<void>((resolve) => stream.write('', () => resolve()));
  }
}

const status = await main(process.argv);
await printed();
process.exit(status);

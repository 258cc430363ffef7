import type { Clock } from '../lib/clock.ts';
import { errorFields, isAbort } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Exec } from './exec.ts';

/** What systemd told a service about itself, sd_notify(3) and sd_watchdog_enabled(3). */
export interface NotifyEnvironment {
  readonly socket: string;
  /** systemd restarts the service when it hears nothing for so long; undefined without a watchdog. */
  readonly watchdogMs?: number;
}

/**
 * Takes the variables out of `env`, so that no program started later speaks to systemd in our name.
 * Undefined when the process was not started as a notifying service.
 */
export function takeNotifyEnvironment(env: NodeJS.ProcessEnv, pid: number): NotifyEnvironment | undefined {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: usec, WATCHDOG_PID: watchdogPid } = env;
  for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name];
  if (!socket) return undefined;
  const forUs = watchdogPid === undefined || Number(watchdogPid) === pid;
  return forUs && Number(usec) > 0 ? { socket, watchdogMs: Number(usec) / 1000 } : { socket };
}

const timeoutMs = 10_000;

/**
 * Tells systemd how the service fares. Node cannot send datagrams to a unix socket, so systemd-notify(1) does: a process
 * of a few milliseconds every third of WatchdogSec. It sends in the name of its parent, which is us, so NotifyAccess=main
 * serves; and it waits until systemd has read the message. A helper that stayed would cost memory all the time, and could
 * go on feeding the watchdog of a keelson that hangs. Without an environment every call does nothing.
 */
export class SystemdNotifier {
  readonly #environment: NotifyEnvironment | undefined;
  readonly #exec: Exec;
  readonly #clock: Clock;
  readonly #log: Log;

  constructor(parts: { environment: NotifyEnvironment | undefined; exec: Exec; clock: Clock; log: Log }) {
    this.#environment = parts.environment;
    this.#exec = parts.exec;
    this.#clock = parts.clock;
    this.#log = parts.log;
  }

  ready(status: string, signal: AbortSignal): Promise<void> {
    return this.#notify(['READY=1', `STATUS=${oneLine(status)}`], signal);
  }

  status(status: string, signal: AbortSignal): Promise<void> {
    return this.#notify([`STATUS=${oneLine(status)}`], signal);
  }

  stopping(signal: AbortSignal): Promise<void> {
    return this.#notify(['STOPPING=1'], signal);
  }

  /**
   * Feeds the watchdog while `healthy` says so, until the signal aborts. That the timer fires at all shows that the event
   * loop turns.
   */
  async runWatchdog(healthy: () => boolean, signal: AbortSignal): Promise<void> {
    const watchdogMs = this.#environment?.watchdogMs;
    if (watchdogMs === undefined) return;
    while (!signal.aborted) {
      if (healthy()) await this.#notify(['WATCHDOG=1'], signal);
      await this.#clock.sleep(watchdogMs / 3, signal).catch((error: unknown) => {
        if (!isAbort(error) && !signal.aborted) throw error;
      });
    }
  }

  /** A message that does not arrive must not stop the daemon; systemd draws its own conclusions. */
  async #notify(variables: readonly string[], signal: AbortSignal): Promise<void> {
    if (!this.#environment) return;
    try {
      const env = { NOTIFY_SOCKET: this.#environment.socket };
      await this.#exec.run('systemd-notify', variables, { signal, timeoutMs, env });
    } catch (error) {
      if (!isAbort(error)) this.#log.warn({ ...errorFields(error), variables }, 'cannot notify systemd');
    }
  }
}

const oneLine = (text: string) => text.replaceAll(/\s+/g, ' ').trim();

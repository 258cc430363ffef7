import { access } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import { AgentError } from '../lib/errors.ts';
import { childCgroups, containerMemory, pidsBelow, readV2, removeCgroup } from './cgroup-files.ts';
import { enableControllers, killV2, writeV2Values } from './cgroupfs-v2.ts';
import { type CgroupName, type CgroupReading, type Cgroups, type CgroupValues, cgroupBusy } from './cgroups.ts';
import {
  computeUnitProperties,
  sliceName,
  slicePartOf,
  slicePath,
  type UnitProperty,
} from './compute-cgroup-settings.ts';
import { type Exec, ExecError } from './exec.ts';

const callTimeoutMs = 25_000;
/** How long systemd may take from accepting a job to the cgroup being there, or gone. */
const jobTimeoutMs = 10_000;

/**
 * Slices of systemd on cgroup v2, made as transient units through its D-Bus API, so that systemd knows every cgroup in
 * its tree and does not reset what it has not been told of. busctl(1) is a process per call, a few milliseconds; no D-Bus
 * library is worth its weight for that.
 */
export class SystemdSlices implements Cgroups {
  readonly version = 2;
  readonly driver = 'systemd';
  readonly #mount: string;
  readonly #exec: Exec;
  readonly #clock: Clock;

  constructor(mount: string, exec: Exec, clock: Clock) {
    this.#mount = mount;
    this.#exec = exec;
    this.#clock = clock;
  }

  async ensure(name: CgroupName, values: CgroupValues, signal: AbortSignal): Promise<void> {
    const unit = sliceName(name);
    const properties = computeUnitProperties(values);
    try {
      await this.#startTransient(name, properties, signal);
    } catch (error) {
      if (!says(error, /already (exists|loaded)/)) throw error;
      if (properties.length) await this.#setProperties(unit, properties, signal);
      if (!(await exists(this.#path(name)))) await this.#manager('StartUnit', 'ss', [unit, 'replace'], signal);
    }
    await this.#until(`${unit} to start`, () => exists(this.#path(name)), signal);
    // systemd passes down only the controllers that a unit's properties name: huge pages and CPU sets are none of them.
    for (let depth = 0; depth < name.length; depth++) await enableControllers(this.#path(name.slice(0, depth)));
    // systemd rounds the CPU quota to whole percents and knows no huge pages: the files get the exact values.
    await writeV2Values(this.#path(name), values);
  }

  async remove(name: CgroupName, signal: AbortSignal): Promise<void> {
    const path = this.#path(name);
    const pids = await pidsBelow(path);
    // Stopping a slice would stop everything in it.
    if (pids.length) throw cgroupBusy(this.criParent(name), pids);
    try {
      await this.#manager('StopUnit', 'ss', [sliceName(name), 'replace'], signal);
    } catch (error) {
      if (!says(error, /not loaded|not found/)) throw error;
    }
    await this.#until(`${sliceName(name)} to stop`, async () => !(await exists(path)), signal).catch(
      (error: unknown) => {
        if (!(error instanceof AgentError)) throw error;
      },
    );
    // A folder that systemd did not know of, made by a runtime below the slice, keeps the slice's own folder.
    await removeCgroup(path, this.#clock, signal);
  }

  async children(name: CgroupName): Promise<readonly string[]> {
    const units = await childCgroups(this.#path(name));
    return units.flatMap((unit) => slicePartOf(unit, name) ?? []).sort();
  }

  pids(name: CgroupName): Promise<readonly number[]> {
    return pidsBelow(this.#path(name));
  }

  kill(name: CgroupName, signal: AbortSignal): Promise<void> {
    return killV2(this.#path(name), this.#clock, signal);
  }

  read(name: CgroupName): Promise<CgroupReading | undefined> {
    return readV2(this.#path(name));
  }

  containerMemory(name: CgroupName, containerId: string): Promise<number | undefined> {
    return containerMemory(this.#path(name), containerId, 'memory.current');
  }

  criParent(name: CgroupName): string {
    return slicePath(name);
  }

  #path(name: CgroupName): string {
    return join(this.#mount, slicePath(name));
  }

  #startTransient(name: CgroupName, values: readonly UnitProperty[], signal: AbortSignal): Promise<void> {
    const unit = sliceName(name);
    const properties: UnitProperty[] = [
      ['Description', 's', `Pods: ${unit}`],
      ['Wants', 'as', '1', sliceName(name.slice(0, -1))],
      // Not stopped when the host shuts down: pods are ended by the agent and the runtime, in their order.
      ['DefaultDependencies', 'b', 'false'],
      ...['CPUAccounting', 'MemoryAccounting', 'TasksAccounting', 'IOAccounting'].map(
        (accounting): UnitProperty => [accounting, 'b', 'true'],
      ),
      ...values,
    ];
    const args = [unit, 'replace', String(properties.length), ...properties.flat(), '0'];
    return this.#manager('StartTransientUnit', 'ssa(sv)a(sa(sv))', args, signal);
  }

  #setProperties(unit: string, properties: readonly UnitProperty[], signal: AbortSignal): Promise<void> {
    const args = [unit, 'true', String(properties.length), ...properties.flat()];
    return this.#manager('SetUnitProperties', 'sba(sv)', args, signal);
  }

  async #manager(method: string, signature: string, args: readonly string[], signal: AbortSignal): Promise<void> {
    const service = 'org.freedesktop.systemd1';
    const call = ['call', service, '/org/freedesktop/systemd1', `${service}.Manager`, method, signature, ...args];
    await this.#exec.run('busctl', ['--system', '--quiet', '--', ...call], {
      signal,
      timeoutMs: callTimeoutMs,
      env: { LC_ALL: 'C' },
    });
  }

  /** systemd answers when it has queued the job; the cgroup's folder tells when it is done. */
  async #until(what: string, done: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
    const deadline = this.#clock.monotonic() + jobTimeoutMs;
    for (let delay = 2; !(await done()); delay = Math.min(delay * 2, 100)) {
      if (this.#clock.monotonic() > deadline) {
        throw new AgentError('SystemdJobTimeout', `waited ${jobTimeoutMs} ms for ${what}`, {
          retryable: true,
          hint: 'systemctl list-jobs shows what holds it',
        });
      }
      await this.#clock.sleep(delay, signal);
    }
  }
}

const says = (error: unknown, words: RegExp) => error instanceof ExecError && words.test(error.stderr);

const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

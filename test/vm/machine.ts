import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The virtual machine of the tests, seen from outside. */

export const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const VM = join(PROJECT, 'test/vm');

export interface VmRun {
  readonly status: number | null;
  readonly output: string;
}

/** Runs a program to its end; only one virtual machine at a time, whoever else wants one. */
function run(command: string, args: readonly string[]): Promise<VmRun> {
  return new Promise((resolve, reject) => {
    const child = spawn('flock', [join(tmpdir(), 'vm.lock'), command, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, output }));
  });
}

/** Makes keelson's bundle and the machine's image where they are missing. Resolves with why that is impossible, if so. */
export async function prepareVm(): Promise<string | undefined> {
  if (!existsSync(join(PROJECT, 'dist/keelson.js'))) {
    execFileSync(process.execPath, ['build.mjs'], { cwd: PROJECT, stdio: 'inherit' });
  }
  const built = await run(join(VM, 'build-image'), []);
  return built.status === 0 ? undefined : `the virtual machine's image cannot be built here: ${built.output.trim()}`;
}

/** Boots the machine, with its disk kept in `disk` from one boot to the next, and runs `command` in it; the project is /mnt/host. */
export function bootVm(command: string, disk: string, seconds: number): Promise<VmRun> {
  return run(join(VM, 'run'), ['-s', PROJECT, '-d', disk, '-t', `${seconds}`, command]);
}

/** Statuses of a shell whose program died by SIGTRAP or SIGSEGV. */
const crashes: readonly (number | null)[] = [133, 139];
const nodeTries = 3;

/**
 * Boots the machine with a new disk and runs `node ARGUMENTS` in it for each of `runs`, until one fails. Node's compilers
 * now and then crash under emulation, less often with one thread and without the optimising one for WebAssembly: what
 * died of that is done again from the start.
 */
export async function runNodeInVm(
  runs: readonly string[],
  {
    prepare = 'true',
    folder,
    seconds,
  }: { readonly prepare?: string; readonly folder: string; readonly seconds: number },
): Promise<VmRun> {
  const node = 'node_modules/.bin/node --single-threaded --liftoff-only';
  const command = ['cd /mnt/host', prepare, ...runs.map((run) => `${node} ${run}`)].join(' && ');
  for (let tries = 1; ; tries++) {
    const done = await bootVm(command, join(folder, `disk-${tries}.qcow2`), seconds);
    if (!crashes.includes(done.status) || tries === nodeTries) return done;
    console.error(`Node crashed in the virtual machine: ${done.output.slice(-2_000)}`);
  }
}

/** The lines of a scenario that say what held, in order. */
export const held = (output: string): string[] =>
  output
    .split('\n')
    .filter((line) => line.startsWith('ok '))
    .map((line) => line.slice(3));

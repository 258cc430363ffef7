import { createCriClient } from '../src/cri/cri-client.ts';
import { systemClock } from '../src/lib/clock.ts';
import { messageOf } from '../src/lib/errors.ts';
import { silentLog } from '../src/lib/log.ts';

/*
 * remove-pods ENDPOINT: stops and removes every pod sandbox of a container runtime, containers, networks and
 * all. It is for the uninstaller: no node agent runs any more that could do it.
 */

const CALL_MS = 120_000;

async function main(): Promise<void> {
  const [endpoint] = process.argv.slice(2);
  if (endpoint === undefined) throw new Error('usage: remove-pods ENDPOINT');
  const signal = AbortSignal.timeout(10 * 60_000);
  const { runtime, close } = createCriClient({
    endpoint,
    requestTimeoutMs: CALL_MS,
    clock: systemClock,
    log: silentLog,
  });
  try {
    const sandboxes = await runtime.listPodSandbox({}, signal);
    for (const { id = '', metadata } of sandboxes) {
      await runtime.stopPodSandbox(id, signal);
      await runtime.removePodSandbox(id, signal);
      console.log(`    removed pod ${metadata?.namespace}/${metadata?.name}`);
    }
  } finally {
    close();
  }
}

main().catch((error: unknown) => {
  console.error(messageOf(error));
  process.exitCode = 1;
});

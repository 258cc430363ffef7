import { createCriClient } from '../src/cri/cri-client.ts';
import { systemClock } from '../src/lib/clock.ts';
import { messageOf } from '../src/lib/errors.ts';
import { silentLog } from '../src/lib/log.ts';

/*
 * empty-runtime ENDPOINT [IMAGE...]: stops and removes every pod sandbox of a container runtime, with its containers
 * and its network, and then the images named. It is for the uninstaller: no node agent runs any more that could do it.
 */

const CALL_MS = 120_000;

async function main(): Promise<void> {
  const [endpoint, ...unwanted] = process.argv.slice(2);
  if (endpoint === undefined) throw new Error('usage: empty-runtime ENDPOINT [IMAGE...]');
  const signal = AbortSignal.timeout(10 * 60_000);
  const { runtime, images, close } = createCriClient({
    endpoint,
    requestTimeoutMs: CALL_MS,
    clock: systemClock,
    log: silentLog,
  });
  try {
    for (const { id = '', metadata } of await runtime.listPodSandbox({}, signal)) {
      await runtime.stopPodSandbox(id, signal);
      await runtime.removePodSandbox(id, signal);
      console.log(`    removed pod ${metadata?.namespace}/${metadata?.name}`);
    }
    // By CRI and not by ctr, because an image has several names there.
    for (const image of unwanted) await images.removeImage({ image }, signal);
  } finally {
    close();
  }
}

main().catch((error: unknown) => {
  console.error(messageOf(error));
  process.exitCode = 1;
});

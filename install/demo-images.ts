import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { buildImage, type ImageSource, imageArchive } from '../src/lib/oci-image.ts';

/*
 * demo-images KIND NAME BUSYBOX ARCHIVE: writes an OCI archive with one image made from a static busybox.
 * A host can so run pods where no registry is in reach.
 */

/**
 * What holds a pod's namespaces: waits for signals, which a first process gets only when it asks for them, and
 * collects the orphans of containers that share its process namespace. ash's `wait` does both.
 */
const PAUSE = 'trap "exit 0" TERM INT; while :; do sleep 2147483647 & wait $!; done';

const architecture = process.arch === 'x64' ? 'amd64' : process.arch;

/** The image of a kind, from the bytes of a static busybox and the names of its applets. */
export function imageOf(
  kind: string,
  name: string,
  busybox: { content: Buffer; applets: readonly string[] },
): ImageSource {
  const binary = { path: 'bin/busybox', content: busybox.content, mode: 0o755 };
  switch (kind) {
    case 'pause':
      return {
        name,
        architecture,
        files: [
          { path: 'bin' },
          binary,
          { path: 'bin/sh', linkTo: 'busybox' },
          { path: 'bin/sleep', linkTo: 'busybox' },
        ],
        entrypoint: ['/bin/sh', '-c', PAUSE],
      };
    case 'demo':
      return {
        name,
        architecture,
        files: [
          ...['bin', 'dev', 'etc', 'proc', 'root', 'sys', 'var', 'www'].map((path) => ({ path })),
          { path: 'tmp', mode: 0o1777 },
          binary,
          ...busybox.applets.map((applet) => ({ path: `bin/${applet}`, linkTo: 'busybox' })),
          { path: 'etc/passwd', content: 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' },
          { path: 'etc/group', content: 'root:x:0:\nnogroup:x:65534:\n' },
        ],
        cmd: ['sh'],
      };
    default:
      throw new Error(`no image of kind ${kind}: pause and demo are known`);
  }
}

function main(): void {
  const [kind, name, busybox, archive] = process.argv.slice(2);
  if (!kind || !name || !busybox || !archive) throw new Error('usage: demo-images KIND NAME BUSYBOX ARCHIVE');
  const applets = execFileSync(busybox, ['--list'], { encoding: 'utf8' }).trim().split('\n');
  const source = imageOf(kind, name, {
    content: readFileSync(busybox),
    applets: applets.filter((applet) => applet !== 'busybox').sort(),
  });
  writeFileSync(archive, imageArchive([buildImage(source)]));
}

if (import.meta.main) main();

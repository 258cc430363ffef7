import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { buildImage, type OciImage } from '../../src/lib/oci-image.ts';
import type { TarEntry } from '../../src/lib/tar.ts';

/*
 * The images of the tests, made from the machine's static busybox. All share one layer.
 */

const BUSYBOX = '/bin/busybox';
const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';

export const PAUSE_IMAGE = 'registry.test/pause:1';
export const BUSYBOX_IMAGE = 'docker.io/library/busybox:1.35';
export const HTTPD_IMAGE = 'registry.test/httpd:1';

/** Waits for signals and collects orphans; ash's `wait` does both. */
const PAUSE = 'trap "exit 0" TERM INT; while :; do sleep 2147483647 & wait $!; done';

/** Serves GET / with the host name on $PORT (8080), and $NAME with what a file of that name in /www holds. */
const HTTPD = `trap "exit 0" TERM INT
hostname > /www/index.html
httpd -f -p "\${PORT:-8080}" -h /www & wait $!`;

let files: readonly TarEntry[] | undefined;

function busyboxFiles(): readonly TarEntry[] {
  files ??= busyboxFilesWith(applets());
  return files;
}

/** A root file system in which busybox answers to these names alone. */
export function busyboxFilesWith(applets: readonly string[]): readonly TarEntry[] {
  return [
    ...['bin', 'dev', 'etc', 'proc', 'root', 'sys', 'usr', 'usr/bin', 'var', 'www'].map((path) => ({ path })),
    { path: 'tmp', mode: 0o1777 },
    { path: 'bin/busybox', content: readFileSync(BUSYBOX), mode: 0o755 },
    ...applets.map((applet) => ({ path: `bin/${applet}`, linkTo: 'busybox' })),
    { path: 'etc/passwd', content: 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' },
    { path: 'etc/group', content: 'root:x:0:\nnogroup:x:65534:\n' },
  ];
}

function applets(): readonly string[] {
  const listed = execFileSync(BUSYBOX, ['--list'], { encoding: 'utf8' }).trim().split('\n');
  return listed.filter((applet) => applet !== 'busybox').sort();
}

/** A busybox with a name of the caller's; runs `sh` unless told. */
export function busyboxImage(name = BUSYBOX_IMAGE, command: readonly string[] = ['sh']): OciImage {
  return buildImage({ name, architecture, files: busyboxFiles(), cmd: command });
}

export function pauseImage(name = PAUSE_IMAGE): OciImage {
  return buildImage({ name, architecture, files: busyboxFiles(), entrypoint: ['/bin/sh', '-c', PAUSE] });
}

export function httpdImage(name = HTTPD_IMAGE): OciImage {
  return buildImage({ name, architecture, files: busyboxFiles(), entrypoint: ['/bin/sh', '-c', HTTPD] });
}

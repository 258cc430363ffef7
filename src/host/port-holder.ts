import { readdir, readFile, readlink } from 'node:fs/promises';

/** 'nginx (process 812)': who listens at a TCP port here, as far as we may see; undefined when it cannot be seen. */
export async function portHolder(port: number): Promise<string | undefined> {
  const inodes = new Set([...(await listeners('/proc/net/tcp', port)), ...(await listeners('/proc/net/tcp6', port))]);
  if (inodes.size === 0) return undefined;
  for (const pid of await entries('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    for (const fd of await entries(`/proc/${pid}/fd`)) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
      const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
      if (inode === undefined || !inodes.has(inode)) continue;
      const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
      return `${name.trim() || 'a process'} (process ${pid})`;
    }
  }
  return undefined;
}

const entries = (folder: string): Promise<readonly string[]> => readdir(folder).catch(() => []);

/** The inodes of the sockets that listen at the port. */
async function listeners(table: string, port: number): Promise<string[]> {
  const text = await readFile(table, 'latin1').catch(() => '');
  return parseListeners(text, port);
}

const listening = '0A';

/** Reads /proc/net/tcp: `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`. */
export function parseListeners(table: string, port: number): string[] {
  return table.split('\n').flatMap((line) => {
    const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/);
    return state === listening && Number.parseInt(local.split(':')[1] ?? '', 16) === port ? [inode] : [];
  });
}

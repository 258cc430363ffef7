import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { childOf } from './child-of.ts';

/**
 * Outside: makes the host's cgroup in every hierarchy and enters it, so that the cgroup namespace made
 * next has it as its root. Then becomes the first process of new namespaces.
 */
const ENTER = `
set -e
folder=$1 name=$2
for root in $3; do
  mkdir -p "$root/$name"
  if [ -e "$root/$name/cpuset.cpus" ] && [ -e "$root/cpuset.cpus" ]; then
    cat "$root/cpuset.cpus" > "$root/$name/cpuset.cpus"
    cat "$root/cpuset.mems" > "$root/$name/cpuset.mems"
  fi
  echo 0 > "$root/$name/cgroup.procs"
done
exec unshare --cgroup --mount --net --uts --ipc --pid --fork --kill-child --mount-proc sh -c "$4" init "$folder" "$5"
`;

/**
 * Inside: its own view of /sys and of the cgroups, and private folders where the daemons write. Its
 * processes go into a cgroup below the root, because cgroup v2 allows none beside controllers. In the
 * end it waits, collecting orphans, for its standard input to close, which the end of the test does.
 */
const BECOME_HOST = `
set -e
folder=$1 hostname=$2
hostname "$hostname"
mount -t sysfs sysfs /sys
own() {
  mkdir -p "$1/system"
  if [ -e "$1/cpuset.cpus" ]; then
    cat "$1/cpuset.cpus" > "$1/system/cpuset.cpus"
    cat "$1/cpuset.mems" > "$1/system/cpuset.mems"
  fi
  echo 0 > "$1/system/cgroup.procs"
}
if [ "$(wc -l < /proc/self/cgroup)" = 1 ]; then
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  own /sys/fs/cgroup
  for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control || true
  done
else
  cp /proc/self/cgroup "$folder/cgroups"
  mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  while IFS=: read -r id controllers path; do
    case $controllers in
      '') at=unified type=cgroup2 options=rw ;;
      name=*) at=\${controllers#name=} type=cgroup options=none,$controllers ;;
      *) at=$controllers type=cgroup options=$controllers ;;
    esac
    mkdir "/sys/fs/cgroup/$at"
    mount -t $type -o "$options" cgroup "/sys/fs/cgroup/$at"
    own "/sys/fs/cgroup/$at"
  done < "$folder/cgroups"
fi
# Whatever is written below these stays in the host's folder; the machine's own files shine through.
for path in etc var opt; do
  mkdir -p "$folder/upper/$path" "$folder/work/$path" "/$path"
  mount -t overlay -o "lowerdir=/$path,upperdir=$folder/upper/$path,workdir=$folder/work/$path" overlay "/$path"
done
# Empty and on a plain file system, as a fresh machine has them (an overlay cannot hold containerd's overlays).
for path in run etc/cni etc/containerd etc/kubernetes opt/cni var/log var/lib/cni var/lib/containerd \\
  var/lib/kubelet var/lib/keelson; do
  mkdir -p "$folder/$path" "/$path"
  mount --bind "$folder/$path" "/$path"
done
mkdir -p /run/netns /run/lock
mount --make-rshared /
ip link set lo up
echo ready
exec 3<&0
cat <&3 > /dev/null &
wait $!
`;

/** The namespaces of one host, held by their first process. */
export interface Namespaces {
  /** Of the first process, as the machine sees it. */
  readonly pid: number;
  /** Ends every process inside, and with them mounts and interfaces. Idempotent. */
  end(): Promise<void>;
}

export interface NamespaceOptions {
  readonly name: string;
  readonly folder: string;
  readonly hostname: string;
  readonly hierarchies: readonly string[];
}

/** Mount, network, process, host name and cgroup namespaces of a host's own. Fails with what the set-up printed. */
export async function createNamespaces(options: NamespaceOptions): Promise<Namespaces> {
  const args = [options.folder, options.name, options.hierarchies.join(' '), BECOME_HOST, options.hostname];
  const child = spawn('sh', ['-c', ENTER, 'enter', ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  const printed: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => printed.push(line));
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const ready = once(createInterface({ input: child.stdout }), 'line').then(() => true);
  if (!(await Promise.race([ready, exited.then(() => false)]))) {
    throw new Error(`cannot make the test host ${options.name}: ${printed.join('; ')}`);
  }
  // Nothing here keeps the test process alive, and its end closes the pipe that keeps the host alive.
  child.unref();
  for (const pipe of [child.stdin, child.stdout, child.stderr]) if (pipe instanceof Socket) pipe.unref();
  const pid = childOf(child.pid ?? 0);
  if (pid === undefined) throw new Error(`the test host ${options.name} ended at once: ${printed.join('; ')}`);
  return { pid, end: () => end(child, exited) };
}

async function end(child: ChildProcess, exited: Promise<void>): Promise<void> {
  child.ref();
  child.stdin?.end();
  const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await exited;
  clearTimeout(timer);
}

/** The command that runs `command` inside: all namespaces, and its cgroups where it is to be counted there. */
export function insideCommand(pid: number, command: readonly string[], join: 'all' | 'network' = 'all'): string[] {
  if (join === 'network') return ['nsenter', '--target', `${pid}`, '--net', '--', ...command];
  const enter = ['nsenter', '--target', `${pid}`, '--mount', '--net', '--uts', '--ipc', '--pid', '--cgroup', '--'];
  const joinCgroups =
    'for d in /sys/fs/cgroup/system /sys/fs/cgroup/*/system; do if [ -e $d/cgroup.procs ]; then echo 0 > $d/cgroup.procs; fi; done; exec "$@"';
  return [...enter, 'sh', '-c', joinCgroups, 'join', ...command];
}

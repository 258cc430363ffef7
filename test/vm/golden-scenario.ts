import { execFile, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { imageArchive } from '../../src/lib/oci-image.ts';
import { NODES } from '../apiserver/kinds.ts';
import { StandInApiServer } from '../apiserver/server.ts';
import { differsEverywhere, golden, goldenImage, prepareNamespace, runGolden } from '../golden-run.ts';
import { PAUSE_IMAGE, pauseImage } from '../images/images.ts';

/*
 * What golden-vm.test.ts runs in the virtual machine: the recorded pods on cgroup v2 with the systemd driver.
 * Says "ok NAME" for every pod that became what it became under kubelet, and "not ok NAME" with why for the others.
 */

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const NODE = 'keelson-vm';
const CGROUPS = '/sys/fs/cgroup';
const bootMs = 240_000;
/** Everything is emulated, and one of the recorded pods had been restarted five times: 150 s of back-off. */
const patienceMs = 270_000;

const execute = promisify(execFile);
const exec = async (command: string, args: readonly string[]): Promise<string> =>
  (await execute(command, args, { maxBuffer: 64 << 20, timeout: 60_000 })).stdout;

async function startContainerd(): Promise<void> {
  mkdirSync('/etc/containerd', { recursive: true });
  writeFileSync(
    '/etc/containerd/config.toml',
    `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE_IMAGE}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
`,
  );
  await exec('systemctl', ['restart', 'containerd']);
  const archive = '/tmp/images.tar';
  writeFileSync(archive, imageArchive([pauseImage(), goldenImage()]));
  await exec('ctr', ['-n', 'k8s.io', 'images', 'import', archive]);
}

async function startKeelson(api: StandInApiServer): Promise<void> {
  mkdirSync('/etc/kubernetes/manifests', { recursive: true });
  mkdirSync('/etc/keelson', { recursive: true });
  api.kubeconfigFor(`system:node:${NODE}`, { groups: ['system:nodes'] }, '/etc/kubernetes/kubelet.conf');
  api.kubeconfigFor('system:kube-proxy', {}, '/etc/kubernetes/proxy.conf');
  writeFileSync(
    '/etc/keelson/config.yaml',
    `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
cgroupDriver: systemd
staticPodPath: /etc/kubernetes/manifests
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: /etc/kubernetes/proxy.conf}
clusterCIDR: 10.244.0.0/16
`,
  );
  const options = ['--config=/etc/keelson/config.yaml', '--kubeconfig=/etc/kubernetes/kubelet.conf'];
  const run = [...process.execArgv, join(PROJECT, 'src/main.ts'), 'run', ...options];
  const keelson = spawn(process.execPath, [...run, `--hostname-override=${NODE}`, '--v=4'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [keelson.stdout, keelson.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      said.push(text);
      if (said.length > 400) said.shift();
    });
  }
  keelson.once('exit', (code, signal) => {
    console.log(`keelson ended: ${signal ?? code}\n${said.join('')}`);
    process.exit(signal === null ? 1 : 128 + constants.signals[signal]);
  });
  const ready = (node: object | undefined) =>
    /"type":"Ready","status":"True"|"status":"True"[^}]*"type":"Ready"/.test(JSON.stringify(node ?? {}));
  try {
    await api.until(NODES, undefined, NODE, ready, AbortSignal.timeout(bootMs));
  } catch (error) {
    throw new Error(`the node is not Ready after ${bootMs} ms: ${said.join('')}`, { cause: error });
  }
}

const said: string[] = [];

/** Lines of `path file value` of the pods' slices and scopes, spelled as in cgroup-values.txt. */
function cgroupValues(files: ReadonlySet<string>): string[] {
  const walk = (path: string): string[] => {
    const here = [...files].flatMap((file) => {
      try {
        return [`${path} ${file} ${readFileSync(join(CGROUPS, path, file), 'utf8').trim()}`];
      } catch {
        return [];
      }
    });
    const below = readdirSync(join(CGROUPS, path), { withFileTypes: true }).filter((e) => e.isDirectory());
    return [...here, ...below.flatMap((e) => walk(`${path}/${e.name}`))];
  };
  return [...new Set(walk('/kubepods.slice').map(spelled))].filter(isOfPod).sort();
}

const spelled = (line: string): string =>
  line.replaceAll(/pod[0-9a-f]{8}(_[0-9a-f]{4}){3}_[0-9a-f]{12}/g, 'pod<uid_>').replaceAll(/[0-9a-f]{64}/g, '<id>');
const isOfPod = (line: string): boolean => line.includes('-pod<uid_>.slice');

/**
 * Values that the recording does not have although kubelet told the runtime the same (the containers' own
 * configurations are compared, too): it was taken before these containers were there.
 */
const notYetRecorded = [
  /cri-containerd-<id>\.scope memory\.oom\.group 1$/,
  /kubepods-pod<uid_>\.slice\/cri-containerd-<id>\.scope cpu\.(max 10000 100000|weight 4)$/,
];

/** Every value that our pods have, kubelet's had; its cluster ran a few more of its own, whose values are not missed. */
function compareCgroups(): void {
  const text = readFileSync(join(PROJECT, 'test/golden/pods-cgroup2/cgroup-values.txt'), 'utf8');
  const recorded = text
    .split('\n')
    .filter(isOfPod)
    .map((line) => line.trimEnd());
  const files = new Set(recorded.map((line) => line.split(' ')[1] ?? ''));
  const now = cgroupValues(files).map((line) => line.trimEnd());
  const more = now.filter((line) => !recorded.includes(line) && !notYetRecorded.some((known) => known.test(line)));
  const missing = recorded.filter((line) => !now.includes(line) && !line.includes('kubepods-burstable-pod'));
  if (missing.length + more.length === 0 && now.length > 50) console.log('ok cgroup values');
  else console.log(`not ok cgroup values\n- ${missing.join('\n- ')}\n+ ${more.join('\n+ ')}`);
}

await startContainerd();
await using api = await StandInApiServer.start();
prepareNamespace(api);
await startKeelson(api);
for (const recorded of golden('pods-cgroup2')) {
  const node = { api, name: NODE, exec, patienceMs };
  await runGolden(node, recorded, differsEverywhere[recorded.name]).then(
    () => console.log(`ok ${recorded.name}`),
    (error: unknown) => console.log(`not ok ${recorded.name}: ${String(error)}`),
  );
}
compareCgroups();
if (process.argv.includes('--log')) console.log(said.join(''));
process.exit(0);

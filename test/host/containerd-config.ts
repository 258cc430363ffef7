export interface ContainerdConfigOptions {
  readonly sandboxImage: string;
  /** More plugins to leave out. */
  readonly disabledPlugins?: readonly string[];
  /** More TOML at the end. */
  readonly extra?: string;
}

/**
 * A containerd with the paths of a fresh Debian machine. `restrict_oom_score_adj` because a test machine
 * may lack CAP_SYS_RESOURCE; the plugins left out probe for devices and tools and are of no use here.
 */
export function containerdConfig({ sandboxImage, disabledPlugins = [], extra = '' }: ContainerdConfigOptions): string {
  return `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp",
${disabledPlugins.map((plugin) => `  "${plugin}",\n`).join('')}]

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${sandboxImage}"
  restrict_oom_score_adj = true
  disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false

# The same under another name, for RuntimeClasses.
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.other]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"
${extra}`;
}

/** A certs.d/<host>/hosts.toml that makes containerd speak plain HTTP to a registry. */
export function plainHttpRegistry(host: string): string {
  return `server = "http://${host}"\n\n[host."http://${host}"]\n  capabilities = ["pull", "resolve"]\n`;
}

/** What keelson writes on a host without a CNI configuration, for tests that drive the runtime themselves. */
export function bridgeCniConfig(podCidr: string): string {
  return JSON.stringify({
    cniVersion: '0.4.0',
    name: 'test',
    plugins: [
      {
        type: 'bridge',
        bridge: 'cni0',
        isGateway: true,
        ipMasq: true,
        hairpinMode: true,
        ipam: { type: 'host-local', ranges: [[{ subnet: podCidr }]], routes: [{ dst: '0.0.0.0/0' }] },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  });
}

import type { ObjectReference, RuntimeClass } from '../api/core-v1.ts';
import type * as cri from '../api/cri.ts';
import type { Config } from '../config/config.ts';
import { readIfExists } from '../host/files.ts';
import type { EventSink } from '../kubeapi/event-sink.ts';
import { NodeDns } from '../kuberuntime/node-dns.ts';
import { SandboxMaker } from '../kuberuntime/sandbox-maker.ts';
import { parseSubordinateIds, UserNamespaces } from '../kuberuntime/user-namespaces.ts';
import type { Log } from '../lib/log.ts';
import type { HostParts } from './host-parts.ts';

export interface SandboxesInput {
  readonly config: Config;
  readonly host: HostParts;
  readonly events: EventSink;
  readonly runtimeClasses: ReadonlyMap<string, RuntimeClass> | undefined;
  readonly runtimeHandlers: () => readonly cri.RuntimeHandler[];
  readonly log: Log;
}

/** What a pod without other wishes gets of its own user ids, as upstream has it. */
const usualIdsPerPod = 65_536;

/** What makes the sandboxes of this node's pods. */
export function buildSandboxMaker(input: SandboxesInput): SandboxMaker {
  const { config, host, events, runtimeClasses, log } = input;
  const { kubelet, flags } = config;
  const { podLogsDir, clusterDNS, clusterDomain, maxPods } = kubelet;
  const node: ObjectReference = { kind: 'Node', name: host.nodeName, uid: host.nodeName };
  const dns = new NodeDns({
    ...{ clusterDNS, clusterDomain, nodeIPs: host.nodeIps, resolvConf: kubelet.resolvConf },
    warnNode: ({ reason, message }) => events.event(node, 'Warning', reason, message),
  });
  return new SandboxMaker({
    ...{ events, log, podLogsDir, clusterDomain, dns, runtimeClasses, node },
    runtime: host.cri.runtime,
    handlers: input.runtimeHandlers,
    userNamespaces: new UserNamespaces({
      ...{ maxPods, log, rootDir: flags.rootDir },
      idsPerPod: kubelet.userNamespaces.idsPerPod ?? usualIdsPerPod,
      subordinate: async () =>
        parseSubordinateIds((await readIfExists('/etc/subuid')) ?? '', (await readIfExists('/etc/subgid')) ?? ''),
    }),
  });
}

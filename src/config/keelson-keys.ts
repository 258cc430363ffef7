import { integer, list, oneOf, text } from '../lib/schema.ts';
import { key, pointer } from './keys.ts';

const absolutePath = text('an absolute path', (value) => value.startsWith('/') && !value.includes('\0'));
/** The kernel's limit is 15 characters. */
const interfaceName = text(
  'the name of a network interface: at most 15 letters, digits, dots, dashes or underscores',
  (value) => /^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/.test(value),
);

/** The kernel takes 107 bytes. */
const socketPath = text(
  'an absolute path of at most 107 bytes',
  (value) => value.startsWith('/') && !value.includes('\0') && Buffer.byteLength(value) <= 107,
);

/** Where the daemon listens, and where its clients ask. */
export const defaultAdminSocket = '/run/keelson/admin.sock';

const fallbackModes = ['nftables', 'iptables', 'ipvs', 'userspace'] as const;
const defaultFallbackModes: readonly (typeof fallbackModes)[number][] = ['nftables', 'iptables', 'userspace'];

/** Every key of KeelsonConfiguration (keelson.io/v1alpha1): what neither of the other kinds has. */
export const keelsonKeys = {
  network: {
    /** Auto: write a CNI configuration where there is none. Never: leave the pod network to others. */
    manage: key(oneOf('Auto', 'Never'), 'Auto', 'now'),
    cniConfDir: key(absolutePath, '/etc/cni/net.d', 'now'),
    bridgeName: key(interfaceName, 'keelson0', 'now'),
    /** Of the pods' interfaces; 0 takes that of the host's default route. 1280 is the least that IPv6 allows. */
    mtu: key(integer(1280, 65_535), 0, 'now'),
  },
  admin: {
    /** The unix socket of `keelson get` and `keelson why`; only root may use it. */
    socket: key(socketPath, defaultAdminSocket, 'now'),
  },
  services: {
    /** What stands in for a `mode` of the KubeProxyConfiguration that cannot work here, in order; []: nothing does. */
    fallbackModes: pointer(list(oneOf(...fallbackModes)), defaultFallbackModes, 'now'),
  },
  log: {
    format: key(oneOf('json', 'text'), 'json', 'now'),
  },
} as const;

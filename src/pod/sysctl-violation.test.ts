import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod, PodSpec } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { allowedSysctls, sysctlViolation } from './sysctl-violation.ts';

interface Case {
  readonly sysctls: readonly string[];
  readonly spec?: Partial<PodSpec>;
  readonly unsafe?: readonly string[];
  readonly kernel?: string;
  /** Absent: allowed. */
  readonly refused?: string;
}

const cases: Record<string, Case> = {
  'no parameters ask for nothing': { sysctls: [] },
  'safe ones are for everybody': { sysctls: ['kernel.shm_rmid_forced', 'net.ipv4.tcp_rmem'] },
  'their slashes are dots': { sysctls: ['net/ipv4/ip_local_port_range'] },
  'others are not': {
    sysctls: ['kernel.shm_rmid_forced', 'kernel.msgmax'],
    refused: 'forbidden sysctl: "kernel.msgmax" not allowlisted',
  },
  'a refused name is said with dots': {
    sysctls: ['kernel/msgmax'],
    refused: 'forbidden sysctl: "kernel.msgmax" not allowlisted',
  },
  'the administrator may allow one by name': { sysctls: ['net.core.somaxconn'], unsafe: ['net.core.somaxconn'] },
  'or all with a beginning': { sysctls: ['net.core.somaxconn', 'net.core.x'], unsafe: ['net/core/*'] },
  'a name is no beginning': {
    sysctls: ['net.core.somaxconn2'],
    unsafe: ['net.core.somaxconn'],
    refused: 'forbidden sysctl: "net.core.somaxconn2" not allowlisted',
  },
  "the host's network is not the pod's to set": {
    sysctls: ['net.ipv4.tcp_syncookies'],
    spec: { hostNetwork: true },
    refused: 'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host Net enabled',
  },
  'nor by an allowed pattern': {
    sysctls: ['net.core.somaxconn'],
    unsafe: ['net.*'],
    spec: { hostNetwork: true },
    refused: 'forbidden sysctl: "net.core.somaxconn" not allowed with host Net enabled',
  },
  "nor is the host's IPC": {
    sysctls: ['kernel.shm_rmid_forced'],
    spec: { hostIPC: true },
    refused: 'forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host IPC enabled',
  },
  "the host's network leaves IPC alone": { sysctls: ['kernel.shm_rmid_forced'], spec: { hostNetwork: true } },
  'what the kernel does not keep per pod is not safe': {
    sysctls: ['net.ipv4.tcp_fin_timeout'],
    kernel: '4.5.9-generic',
    refused: 'forbidden sysctl: "net.ipv4.tcp_fin_timeout" not allowlisted',
  },
  'and is from the kernel on that does': { sysctls: ['net.ipv4.tcp_fin_timeout'], kernel: '4.6' },
};

for (const [sentence, { sysctls, spec, unsafe = [], kernel = '6.1.0-18-amd64', refused }] of Object.entries(cases)) {
  test(sentence, () => {
    const securityContext = { sysctls: sysctls.map((name) => ({ name, value: '1' })) };
    const pod: Pod = deepFreeze({ metadata: { name: 'p' }, spec: { containers: [], securityContext, ...spec } });
    assert.equal(sysctlViolation(pod, allowedSysctls(unsafe, kernel)), refused);
  });
}

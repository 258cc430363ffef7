import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dottedSysctl, isSysctlPattern, sysctlNamespace } from './sysctl.ts';

const dotted: Record<string, string> = {
  'kernel.shm_rmid_forced': 'kernel.shm_rmid_forced',
  'kernel/shm_rmid_forced': 'kernel.shm_rmid_forced',
  'net.ipv4.conf.eth0/100.rp_filter': 'net.ipv4.conf.eth0/100.rp_filter',
  'net/ipv4/conf/eth0.100/rp_filter': 'net.ipv4.conf.eth0/100.rp_filter',
  '': '',
};
for (const [name, expected] of Object.entries(dotted)) {
  test(`"${name}" with dots is "${expected}"`, () => assert.equal(dottedSysctl(name), expected));
}

const namespaces: Record<string, string | undefined> = {
  'kernel.sem': 'IPC',
  'kernel.semaphore': undefined,
  'kernel.shmmax': 'IPC',
  'kernel.msgmni': 'IPC',
  'fs.mqueue.msg_max': 'IPC',
  'fs.file-max': undefined,
  'net.core.somaxconn': 'Net',
  net: undefined,
  'vm.swappiness': undefined,
};
for (const [name, expected] of Object.entries(namespaces)) {
  test(`${name} lives in ${expected ?? 'no namespace'}`, () => assert.equal(sysctlNamespace(name), expected));
}

const patterns: Record<string, boolean> = {
  'net.core.somaxconn': true,
  'net.*': true,
  'net/ipv4/*': true,
  'kernel.shm*': true,
  'kernel.*': false,
  '*': false,
  'vm.swappiness': false,
  'net.': false,
  'Net.core.somaxconn': false,
  [`net.${'a'.repeat(250)}`]: false,
};
for (const [text, expected] of Object.entries(patterns)) {
  test(`${text.slice(0, 30)} ${expected ? 'may' : 'must not'} be allowed to pods`, () => {
    assert.equal(isSysctlPattern(text), expected);
  });
}

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { prettyName, readFilesystem, readMachineFacts } from './machine.ts';

test('the pretty name of os-release, quoted or not', () => {
  assert.equal(prettyName('NAME=x\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'), 'Debian GNU/Linux 12 (bookworm)');
  assert.equal(prettyName('PRETTY_NAME=Alpine'), 'Alpine');
  assert.equal(prettyName('PRETTY_NAME=\'A \\"B\\"\''), 'A "B"');
  assert.equal(prettyName('ID=x\n'), 'Linux');
});

test('the facts of this machine agree with the kernel', async () => {
  const facts = await readMachineFacts();
  const meminfo = await readFile('/proc/meminfo', 'utf8');
  assert.equal(facts.memoryBytes, Number(/^MemTotal:\s+(\d+) kB/m.exec(meminfo)?.[1]) * 1024);
  assert.equal(facts.bootId, (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim());
  assert.equal(facts.kernelVersion, (await readFile('/proc/sys/kernel/osrelease', 'utf8')).trim());
  assert.equal(facts.cpuCount, (await readFile('/proc/cpuinfo', 'utf8')).match(/^processor\s*:/gm)?.length);
  assert.match(facts.onlineCpus, /^0/);
  assert.match(facts.architecture, /^(amd64|arm64|386|arm|ppc64le|s390x|riscv64)$/);
  assert.ok(facts.maxPids > 100);
  assert.equal(facts.hostname, facts.hostname.toLowerCase());
  assert.ok(facts.systemUuid.length >= facts.machineId.length);
});

test('a file system has room and inodes', async () => {
  const fs = await readFilesystem('/proc/self/cwd');
  assert.ok(fs.capacityBytes > fs.availableBytes && fs.availableBytes > 0);
  assert.ok(fs.inodes >= fs.inodesFree);
});

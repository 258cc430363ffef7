import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ExecError } from '../host/exec.ts';
import { FakeExec, type FakeProgram } from '../host/fake-host.ts';
import { ensureFileSystem } from './local-volume.ts';

const never = new AbortController().signal;
const says =
  (stdout: string): FakeProgram =>
  async () => ({ stdout, stderr: '' });
const fails =
  (exitCode: number, stderr = ''): FakeProgram =>
  () => {
    throw new ExecError('x', `exited with status ${exitCode}`, {
      code: 'ExecFailed',
      exitCode,
      stderr,
      timedOut: false,
    });
  };

interface Case {
  readonly blkid: FakeProgram;
  readonly fsck?: FakeProgram;
  readonly fsType?: string;
  readonly readOnly?: boolean;
  /** What is run after blkid, or the error. */
  readonly expected: string[] | RegExp;
}

const cases: Record<string, Case> = {
  'a device with nothing on it gets the file system': { blkid: fails(2), expected: ['mkfs.ext4 -F -m0 /dev/d'] },
  'xfs has its own way': { blkid: fails(2), fsType: 'xfs', expected: ['mkfs.xfs -f /dev/d'] },
  'a device with nothing on it cannot be read only': {
    blkid: fails(2),
    readOnly: true,
    expected: /cannot mount unformatted disk/,
  },
  'a file system is checked': { blkid: says('DEVNAME=/dev/d\nTYPE=ext4\n'), expected: ['fsck -a /dev/d'] },
  'a file system that is only read stays as it is': { blkid: says('TYPE=ext4\n'), readOnly: true, expected: [] },
  'a file system that was repaired is fine': {
    blkid: says('TYPE=ext4\n'),
    fsck: fails(1),
    expected: ['fsck -a /dev/d'],
  },
  'a file system that cannot be repaired': {
    blkid: says('TYPE=ext4\n'),
    fsck: fails(4),
    expected: /'fsck' found errors on device \/dev\/d but could not correct them/,
  },
  'partitions are not formatted': { blkid: says('PTTYPE=dos\n'), expected: ['fsck -a /dev/d'] },
  'a device that cannot be read is not formatted': {
    blkid: fails(2, 'blkid: error: /dev/d: Input/output error\n'),
    expected: /exited with status 2/,
  },
};

for (const [sentence, { blkid, fsck = says(''), fsType = 'ext4', readOnly = false, expected }] of Object.entries(
  cases,
)) {
  test(sentence, async () => {
    const exec = new FakeExec({ blkid, fsck, 'mkfs.ext4': says(''), 'mkfs.xfs': says('') });
    const done = ensureFileSystem('/dev/d', { fsType, readOnly }, exec, never);
    if (expected instanceof RegExp) {
      await assert.rejects(done, expected);
      assert.ok(!exec.calls.some((call) => call.startsWith('mkfs')));
      return;
    }
    await done;
    assert.deepEqual(exec.calls.slice(1), expected);
  });
}

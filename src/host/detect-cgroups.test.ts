import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgentError } from '../lib/errors.ts';
import { detectCgroups } from './detect-cgroups.ts';
import { parseMountInfo } from './mount-table.ts';

const detect = (...lines: string[]) => detectCgroups(parseMountInfo(lines.join('\n')));
const v1 = (target: string, options: string) => `1 0 0:1 / ${target} rw - cgroup cgroup rw,${options}`;
const refused = (hint: RegExp) => (e: unknown) =>
  e instanceof AgentError && e.code === 'CgroupsUnusable' && hint.test(e.hint ?? '');

test('a unified host', () => {
  assert.deepEqual(detect('1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate'), {
    version: 2,
    mount: '/sys/fs/cgroup',
  });
});

test('a hybrid host has the controllers in v1, joint ones too, and the v2 hierarchy beside them', () => {
  const layout = detect(
    '1 0 0:1 / /sys/fs/cgroup rw - tmpfs tmpfs ro',
    '1 0 0:1 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw',
    v1('/sys/fs/cgroup/systemd', 'xattr,name=systemd'),
    v1('/sys/fs/cgroup/cpu,cpuacct', 'cpu,cpuacct'),
    v1('/sys/fs/cgroup/cpuset', 'cpuset'),
    v1('/sys/fs/cgroup/memory', 'memory'),
    v1('/run/elsewhere/memory', 'memory'),
  );
  assert.deepEqual(layout, {
    version: 1,
    hierarchies: [
      { mount: '/sys/fs/cgroup/systemd', controllers: ['name=systemd'] },
      { mount: '/sys/fs/cgroup/cpu,cpuacct', controllers: ['cpu', 'cpuacct'] },
      { mount: '/sys/fs/cgroup/cpuset', controllers: ['cpuset'] },
      { mount: '/sys/fs/cgroup/memory', controllers: ['memory'] },
      { mount: '/sys/fs/cgroup/unified', controllers: [] },
    ],
  });
});

test('no cgroups, or no memory controller, is refused with what to do', () => {
  assert.throws(() => detect('1 0 0:1 / / rw - ext4 /dev/sda rw'), refused(/mount -t cgroup2/));
  assert.throws(
    () => detect(v1('/sys/fs/cgroup/cpu', 'cpu'), v1('/sys/fs/cgroup/cpuset', 'cpuset')),
    refused(/cgroup_enable=memory/),
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, Pod } from '../api/core-v1.ts';
import * as cri from '../api/cri.ts';
import { criAnnotations } from '../api/labels.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { containerConfig } from './container-config.ts';

interface Given {
  readonly over?: Partial<Container>;
  readonly metadata?: Partial<Pod['metadata']>;
  readonly attempt?: number;
  readonly devices?: readonly cri.Device[];
}

function configure({ over, metadata, attempt = 0, devices = [] }: Given): cri.ContainerConfig {
  const container: Container = { name: 'c', image: 'i', ...over };
  const pod: Pod = {
    metadata: { name: 'p', namespace: 'ns', uid: 'u', ...metadata },
    spec: { containers: [container], terminationGracePeriodSeconds: 30 },
  };
  return containerConfig({
    ...deepFreeze({ pod, container, attempt, devices, mounts: [], resources: {}, security: { seccompRoot: '/s' } }),
    ...{ imageRef: 'sha256:abc', imageUser: { uid: 0, username: '' } },
    env: new Map([['A', '1']]),
  });
}

const fields: Record<
  string,
  Given & { expect: { [F in keyof cri.ContainerConfig]?: cri.ContainerConfig[F] | undefined } }
> = {
  'command and arguments know the variables': {
    over: { command: ['echo', '$(A)'], args: ['$(NOPE)', '$$(A)'] },
    expect: { command: ['echo', '1'], args: ['$(NOPE)', '$(A)'] },
  },
  'the folder to work in': { over: { workingDir: '/w' }, expect: { workingDir: '/w' } },
  'a terminal and an input': {
    over: { stdin: true, stdinOnce: true, tty: true },
    expect: { stdin: true, stdinOnce: true, tty: true },
  },
  'no terminal and no input': { expect: { stdin: undefined, stdinOnce: undefined, tty: undefined } },
  'a log for each attempt': { attempt: 3, expect: { logPath: 'c/3.log', metadata: { name: 'c', attempt: 3 } } },
  'a stop signal': { over: { lifecycle: { stopSignal: 'SIGUSR1' } }, expect: { stopSignal: cri.Signal.SIGUSR1 } },
  'a stop signal of real time': {
    over: { lifecycle: { stopSignal: 'SIGRTMIN+3' } },
    expect: { stopSignal: cri.Signal.SIGRTMINPLUS3 },
  },
  'one counted from the end': {
    over: { lifecycle: { stopSignal: 'SIGRTMAX-14' } },
    expect: { stopSignal: cri.Signal.SIGRTMAXMINUS14 },
  },
  "without one it is the image's": { over: { lifecycle: {} }, expect: { stopSignal: undefined } },
  devices: {
    devices: [{ hostPath: '/dev/loop7', containerPath: '/dev/a', permissions: 'r' }],
    expect: { devices: [{ hostPath: '/dev/loop7', containerPath: '/dev/a', permissions: 'r' }] },
  },
};

for (const [sentence, { expect, ...given }] of Object.entries(fields)) {
  test(sentence, () => {
    const config = configure(given);
    for (const [field, value] of Object.entries(expect)) {
      assert.deepEqual(config[field as keyof cri.ContainerConfig], value, field);
    }
  });
}

/** Other tools read these, and a kubelet that comes after us. */
const annotations: Record<string, Given & { expect: Readonly<Record<string, string | undefined>> }> = {
  'the count of restarts': { attempt: 2, expect: { [criAnnotations.restartCount]: '2' } },
  'where last words are written, and which count': {
    over: { terminationMessagePath: '/tmp/last', terminationMessagePolicy: 'FallbackToLogsOnError' },
    expect: {
      [criAnnotations.terminationMessagePath]: '/tmp/last',
      [criAnnotations.terminationMessagePolicy]: 'FallbackToLogsOnError',
    },
  },
  'how long the pod may take to end': {
    expect: { [criAnnotations.podTerminationGracePeriod]: '30', [criAnnotations.podDeletionGracePeriod]: undefined },
  },
  'and how long whoever deletes it gives': {
    metadata: { deletionGracePeriodSeconds: 5 },
    expect: { [criAnnotations.podTerminationGracePeriod]: '30', [criAnnotations.podDeletionGracePeriod]: '5' },
  },
  'what to do before the end, as Go would spell it': {
    over: {
      lifecycle: {
        preStop: {
          httpGet: { httpHeaders: [{ value: 'a<b', name: 'X' }], scheme: 'HTTP', host: 'h', port: 80, path: '/end' },
        },
      },
    },
    expect: {
      [criAnnotations.preStopHandler]:
        '{"httpGet":{"path":"/end","port":80,"host":"h","scheme":"HTTP","httpHeaders":[{"name":"X","value":"a\\u003cb"}]}}',
    },
  },
  'a command before the end': {
    over: { lifecycle: { preStop: { exec: { command: ['sync'] } } } },
    expect: { [criAnnotations.preStopHandler]: '{"exec":{"command":["sync"]}}' },
  },
  'a named port before the end': {
    over: { lifecycle: { preStop: { tcpSocket: { port: 'http' } } } },
    expect: { [criAnnotations.preStopHandler]: '{"tcpSocket":{"port":"http"}}' },
  },
  ports: {
    over: { ports: [{ protocol: 'TCP', hostIP: '127.0.0.1', hostPort: 8080, containerPort: 80, name: 'http' }] },
    expect: {
      [criAnnotations.ports]:
        '[{"name":"http","hostPort":8080,"containerPort":80,"protocol":"TCP","hostIP":"127.0.0.1"}]',
    },
  },
  'nothing of what is not there': {
    expect: { [criAnnotations.ports]: undefined, [criAnnotations.preStopHandler]: undefined },
  },
};

for (const [sentence, { expect, ...given }] of Object.entries(annotations)) {
  test(`annotations: ${sentence}`, () => {
    const found = configure(given).annotations ?? {};
    for (const [name, value] of Object.entries(expect)) assert.equal(found[name], value, name);
  });
}

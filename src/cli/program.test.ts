import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Command } from 'commander';
import type { RunOptions } from '../config/run-options.ts';
import { buildProgram, type CleanupOptions, type GetOptions, splitFlags, type WhyOptions } from './program.ts';
import type { SvcOptions } from './svc-command.ts';
import { textLine } from './text-line.ts';

interface Asked {
  run?: RunOptions;
  check?: readonly string[];
  get?: GetOptions;
  why?: WhyOptions;
  cleanup?: CleanupOptions;
  svc?: SvcOptions;
}

/** Parses, and gives back what was asked for, or what was said instead. */
async function parse(...argv: string[]): Promise<Asked & { said: string }> {
  let said = '';
  const result: Asked = {};
  const program = buildProgram({
    run: async (options) => {
      result.run = options;
    },
    check: (files) => {
      result.check = files;
    },
    version: () => {},
    get: async (options) => {
      result.get = options;
    },
    why: async (options) => {
      result.why = options;
    },
    svc: async (options) => {
      result.svc = options;
    },
    cleanup: async (options) => {
      result.cleanup = options;
    },
  });
  const quiet = (command: Command) => {
    command.exitOverride().configureOutput({ writeErr: (text) => (said += text), writeOut: (text) => (said += text) });
    command.commands.forEach(quiet);
  };
  quiet(program);
  await program.parseAsync(splitFlags(['node', 'keelson', ...argv])).catch(() => {});
  return { ...result, said };
}

test("the kubelet's flags are taken in the forms that operators write", async () => {
  const { run } = await parse(
    'run',
    '--config=a.yaml',
    '--config',
    'b.yaml',
    '--kubeconfig=/k',
    '--node-ip=192.0.2.1,2001:db8::1',
    '--node-labels=a=b,c=d',
    '--register-with-taints',
    'k=v:NoSchedule',
    '--hostname-override=n',
    '--proxy-mode=nftables',
    '-v=4',
  );
  assert.deepEqual(run, {
    config: ['a.yaml', 'b.yaml'],
    kubeconfig: '/k',
    nodeIp: ['192.0.2.1,2001:db8::1'],
    nodeLabels: ['a=b,c=d'],
    registerWithTaints: ['k=v:NoSchedule'],
    hostnameOverride: 'n',
    proxyMode: 'nftables',
    rootDir: '/var/lib/kubelet',
    v: '4',
  });
  assert.equal((await parse('run', '--v=2')).run?.v, '2');
  assert.equal((await parse('run', '-v', '2')).run?.v, '2');
});

test('flags that do not exist are refused, with the one that may be meant', async () => {
  const unknown = await parse('run', '--kubeconfg=/k');
  assert.equal(unknown.run, undefined);
  assert.match(unknown.said, /unknown option '--kubeconfg'\n\(Did you mean --kubeconfig\?\)/);
  assert.match((await parse('rnu')).said, /unknown command 'rnu'\n\(Did you mean run\?\)/);
  assert.match((await parse('run', 'extra')).said, /too many arguments/);
});

test('check takes one or more files', async () => {
  assert.deepEqual((await parse('check', '--config', 'a', 'b')).check, ['a', 'b']);
  assert.deepEqual((await parse('check', '--config', 'a', '--config', 'b')).check, ['a', 'b']);
  assert.match((await parse('check')).said, /required option '--config/);
});

test('what runs here is asked for as with kubectl', async () => {
  const socket = '/run/keelson/admin.sock';
  const plain = { namespace: 'default', allNamespaces: false, output: 'table', socket };
  assert.deepEqual((await parse('get', 'pods')).get, plain);
  assert.deepEqual((await parse('get', 'po', 'web', '-n', 'shop', '-o', 'wide')).get, {
    ...plain,
    name: 'web',
    namespace: 'shop',
    output: 'wide',
  });
  assert.deepEqual((await parse('get', 'pods', '-A', '-o=json', '--socket=/s')).get, {
    ...plain,
    allNamespaces: true,
    output: 'json',
    socket: '/s',
  });
  assert.deepEqual((await parse('why', 'shop/web')).why, { pod: 'shop/web', socket });
  assert.match((await parse('get', 'nodes')).said, /'nodes' is invalid.*pods/);
  assert.match((await parse('get', 'pods', '-o', 'csv')).said, /'csv' is invalid.*wide, json, yaml/);
});

test('cleanup removes, or only lists', async () => {
  assert.deepEqual((await parse('cleanup')).cleanup, { plan: false, rootDir: '/var/lib/kubelet' });
  assert.deepEqual((await parse('cleanup', '--plan', '--root-dir=/r')).cleanup, { plan: true, rootDir: '/r' });
  assert.match((await parse('cleanup', '--plam')).said, /--plan/);
});

test('Services are looked into', async () => {
  const socket = '/run/keelson/admin.sock';
  const table: Record<string, SvcOptions> = {
    'svc plan': { what: 'plan', output: 'text', socket },
    'svc plan --family ipv6': { what: 'plan', output: 'text', socket, family: 'IPv6' },
    'svc diff -o json --socket=/s': { what: 'diff', output: 'json', socket: '/s' },
    'svc plan -f a.yaml --filename=-': {
      ...{ what: 'plan', output: 'text', socket, files: { filenames: ['a.yaml', '-'], config: [] } },
    },
    'svc trace host web:80 -f a --config c --config d --mode ipvs --hostname-override n': {
      ...{ what: 'trace', output: 'text', socket, client: 'host', target: 'web:80' },
      files: { filenames: ['a'], config: ['c', 'd'], mode: 'ipvs', hostnameOverride: 'n' },
    },
    'svc trace host web:80': { what: 'trace', output: 'text', socket, client: 'host', target: 'web:80' },
    'svc trace d/p [fd00::1]:53 --protocol udp': {
      ...{ what: 'trace', output: 'text', socket, client: 'd/p', target: '[fd00::1]:53', protocol: 'udp' },
    },
  };
  for (const [line, wanted] of Object.entries(table)) assert.deepEqual((await parse(...line.split(' '))).svc, wanted);
  assert.match((await parse('svc', 'trace', 'host')).said, /missing required argument 'target'/);
  assert.match((await parse('svc', 'plan', '--mode=ipvs')).said, /--mode needs --filename/);
  assert.match((await parse('svc', 'plan', '-f', 'a', '--mode=ipv')).said, /Allowed choices are nftables, iptables/);
  assert.match((await parse('svc', 'plan', '--family=ipv5')).said, /Allowed choices are ipv4, ipv6/);
});

test('a log line for people', () => {
  const json = '{"level":"info","time":"T","pod":"a/b","n":1,"err":"two words","msg":"killing container"}';
  assert.equal(textLine(json), 'T INFO  killing container pod=a/b n=1 err="two words"\n');
  assert.equal(textLine('not json'), 'not json');
});

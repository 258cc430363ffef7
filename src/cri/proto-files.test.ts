import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import protobuf from 'protobufjs';
import { loadProto } from './proto-files.ts';

/** The whole of CRI v1, as a descriptor with the names of the specification. */
const facts = protobuf.Root.fromJSON(JSON.parse(readFileSync('test/wire/cri-v1.json', 'utf8'))).resolveAll();
const ours = loadProto('cri-v1.proto').lookup('runtime.v1') as protobuf.Namespace;
const theirs = facts.lookup('runtime.v1') as protobuf.Namespace;

function describeField(field: protobuf.Field): string {
  const key = field instanceof protobuf.MapField ? `map<${field.keyType}> ` : '';
  return `${key}${field.repeated ? 'repeated ' : ''}${field.type} ${protobuf.util.camelCase(field.name)} = ${field.id}`;
}

function describe(object: protobuf.ReflectionObject): readonly string[] {
  if (object instanceof protobuf.Type) {
    return [...object.fieldsArray.map(describeField), ...object.nestedArray.flatMap(describe)].sort();
  }
  if (object instanceof protobuf.Enum) {
    return Object.entries(object.values)
      .map(([name, value]) => `${name} = ${value}`)
      .sort();
  }
  return [];
}

test('every message and enum of cri-v1.proto is complete and as in CRI v1', () => {
  let compared = 0;
  for (const object of ours.nestedArray) {
    if (object instanceof protobuf.Service) continue;
    const model = theirs.get(object.name);
    assert.ok(model, `CRI v1 has no ${object.name}`);
    assert.deepEqual(describe(object), describe(model), object.name);
    compared++;
  }
  assert.ok(compared > 90, `only ${compared} compared`);
});

test('every method of cri-v1.proto takes, returns and streams what it does in CRI v1', () => {
  for (const service of ours.nestedArray) {
    if (!(service instanceof protobuf.Service)) continue;
    for (const method of service.methodsArray) {
      const model: protobuf.Method | undefined = theirs.lookupService(service.name).methods[method.name];
      assert.ok(model, `CRI v1 has no ${service.name}.${method.name}`);
      const shape = (m: protobuf.Method) => [m.requestType, m.responseType, !!m.requestStream, !!m.responseStream];
      assert.deepEqual(shape(method), shape(model), method.name);
    }
  }
});

test('64-bit integers arrive as numbers: stamps, minus one, zero', () => {
  const status = (ours as protobuf.Namespace).lookupType('ContainerStatus');
  const stamp = Number(1_795_234_567_891_234_567n);
  const resources = { linux: { cpuQuota: -1, memoryLimitInBytes: 2 ** 40 + 1, oomScoreAdj: -997 } };
  const sent = { createdAt: stamp, resources, exitCode: -1 };
  const got = status.decode(status.encode(sent).finish()) as unknown as {
    createdAt: number;
    startedAt: number;
    exitCode: number;
    resources: { linux: { cpuQuota: number; memoryLimitInBytes: number; oomScoreAdj: number; cpuPeriod: number } };
  };
  assert.equal(got.createdAt, stamp);
  assert.equal(got.startedAt, 0);
  assert.equal(got.exitCode, -1);
  assert.equal(got.resources.linux.cpuQuota, -1);
  assert.equal(got.resources.linux.memoryLimitInBytes, 2 ** 40 + 1);
  assert.equal(got.resources.linux.oomScoreAdj, -997);
  assert.equal(got.resources.linux.cpuPeriod, 0);
});

test('bytes are bytes, also when there are none', () => {
  const answer = ours.lookupType('ExecSyncResponse');
  const got = answer.decode(answer.encode({ stdout: Buffer.from('x') }).finish()) as unknown as {
    stdout: Uint8Array;
    stderr: Uint8Array;
  };
  assert.equal(Buffer.concat([got.stdout, got.stderr]).toString(), 'x');
  assert.equal(answer.encode(got).finish().length, 3);
});

test('a package without its proto files is named', () => {
  assert.throws(() => loadProto('cri-v1.proto', 'file:///nowhere/dist/keelson.js'), { code: 'ProtoFileMissing' });
});

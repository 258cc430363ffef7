import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';
import { AgentError } from '../lib/errors.ts';

/*
 * 64-bit integers as plain numbers, also where the package `long` is installed. Counters, sizes and
 * `-1` are exact; nanosecond stamps lose what is below 256 ns, which nobody reads.
 */
protobuf.util.Long = undefined as never;
protobuf.configure();
/* The same in JSON (log lines, recordings), where protobufjs would write them and enums as strings. */
protobuf.util.toJSONOptions = { bytes: String, json: true };
/* What was left out is empty bytes, not an empty array: nobody who reads it has to know the difference. */
Object.assign(protobuf.types.defaults, { bytes: new Uint8Array() });

/**
 * Reads `proto/<name>` from the package that this code is part of: the same file whether it runs from
 * src/ or as the bundle in dist/. Field names come out in camel case.
 */
export function loadProto(name: string, from: string = import.meta.url): protobuf.Root {
  const path = join(findProtoFolder(dirname(fileURLToPath(from)), name), name);
  const { root } = protobuf.parse(readFileSync(path, 'utf8'), new protobuf.Root());
  root.resolveAll();
  return root;
}

function findProtoFolder(start: string, name: string): string {
  for (let folder = start; ; folder = dirname(folder)) {
    const candidate = join(folder, 'proto');
    if (existsSync(join(candidate, name))) return candidate;
    if (dirname(folder) === folder) break;
  }
  throw new AgentError('ProtoFileMissing', `no proto/${name} in ${start} or a folder above it`, {
    hint: 'the installation is incomplete: install keelson again',
  });
}

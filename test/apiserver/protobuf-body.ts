import protobuf from 'protobufjs';
import { type Fields, isFields } from './objects.ts';
import { badRequest } from './status.ts';

/** The media type kubectl sends when it creates objects from its own options (`kubectl create namespace`). */
export const PROTOBUF = 'application/vnd.kubernetes.protobuf';

/** The kinds such commands create, with the fields those commands can set; numbers as in Kubernetes' API. */
const MESSAGES = `
syntax = "proto2";
message Unknown { optional TypeMeta typeMeta = 1; optional bytes raw = 2; }
message TypeMeta { optional string apiVersion = 1; optional string kind = 2; }
message Meta {
  optional string name = 1; optional string generateName = 2; optional string namespace = 3;
  map<string, string> labels = 11; map<string, string> annotations = 12;
}
message Namespace { optional Meta metadata = 1; }
message ConfigMap {
  optional Meta metadata = 1; map<string, string> data = 2; map<string, bytes> binaryData = 3; optional bool immutable = 4;
}
message Secret {
  optional Meta metadata = 1; map<string, bytes> data = 2; optional string type = 3;
  map<string, string> stringData = 4; optional bool immutable = 5;
}
message LocalReference { optional string name = 1; }
message ServiceAccount {
  optional Meta metadata = 1; repeated LocalReference imagePullSecrets = 3; optional bool automountServiceAccountToken = 4;
}
message Service { optional Meta metadata = 1; optional ServiceSpec spec = 2; }
message ServiceSpec {
  repeated ServicePort ports = 1; map<string, string> selector = 2; optional string clusterIP = 3;
  optional string type = 4; optional string externalName = 10;
}
message ServicePort {
  optional string name = 1; optional string protocol = 2; optional int32 port = 3;
  optional IntOrString targetPort = 4; optional int32 nodePort = 5;
}
message IntOrString { optional int64 type = 1; optional int32 intVal = 2; optional string strVal = 3; }
message PolicyRule {
  repeated string verbs = 1; repeated string apiGroups = 2; repeated string resources = 3;
  repeated string resourceNames = 4; repeated string nonResourceURLs = 5;
}
message ClusterRole { optional Meta metadata = 1; repeated PolicyRule rules = 2; }
message Role { optional Meta metadata = 1; repeated PolicyRule rules = 2; }
message Subject {
  optional string kind = 1; optional string apiGroup = 2; optional string name = 3; optional string namespace = 4;
}
message RoleRef { optional string apiGroup = 1; optional string kind = 2; optional string name = 3; }
message ClusterRoleBinding { optional Meta metadata = 1; repeated Subject subjects = 2; optional RoleRef roleRef = 3; }
message RoleBinding { optional Meta metadata = 1; repeated Subject subjects = 2; optional RoleRef roleRef = 3; }
message TokenRequest { optional Meta metadata = 1; optional TokenRequestSpec spec = 2; }
message TokenRequestSpec {
  repeated string audiences = 1; optional BoundReference boundObjectRef = 3; optional int64 expirationSeconds = 4;
}
message BoundReference {
  optional string kind = 1; optional string apiVersion = 2; optional string name = 3; optional string uid = 4;
}
message SelfSubjectAccessReview { optional Meta metadata = 1; optional AccessSpec spec = 2; }
message AccessSpec { optional ResourceAttributes resourceAttributes = 1; optional PathAttributes nonResourceAttributes = 2; }
message ResourceAttributes {
  optional string namespace = 1; optional string verb = 2; optional string group = 3; optional string version = 4;
  optional string resource = 5; optional string subresource = 6; optional string name = 7;
}
message PathAttributes { optional string path = 1; optional string verb = 2; }
message Eviction { optional Meta metadata = 1; optional DeleteOptions deleteOptions = 2; }
message DeleteOptions { optional int64 gracePeriodSeconds = 1; optional Preconditions preconditions = 2; }
message Preconditions { optional string uid = 1; optional string resourceVersion = 2; }
`;

const root = protobuf.parse(MESSAGES, { keepCase: true }).root;
const MAGIC = Buffer.from('k8s\0', 'latin1');

/** Decodes a body in Kubernetes' protobuf envelope into the object that JSON would have given. */
export function decodeProtobuf(body: Buffer): Fields {
  if (!body.subarray(0, MAGIC.length).equals(MAGIC)) throw badRequest('the protobuf body lacks its prefix');
  const envelope = decode('Unknown', body.subarray(MAGIC.length), Buffer);
  const { apiVersion, kind } = isFields(envelope['typeMeta']) ? envelope['typeMeta'] : {};
  const known = typeof kind === 'string' && root.get(kind) instanceof protobuf.Type;
  if (!known) throw badRequest(`this server reads ${kind} as JSON only`);
  const object = decode(kind, envelope['raw'] as Buffer, String);
  return { kind, apiVersion, ...(withoutEmpty(object) as Fields) };
}

const decode = (type: string, bytes: Uint8Array, binary: typeof Buffer | typeof String): Fields => {
  const message = root.lookupType(type);
  const options = { longs: Number, ...(binary === String ? { bytes: String } : {}) };
  return message.toObject(message.decode(bytes), options);
};

/** Go writes every string, empty or not; JSON leaves empty ones out. An int-or-string becomes what it is. */
function withoutEmpty(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutEmpty);
  if (!isFields(value)) return value;
  if ('type' in value && 'strVal' in value) return value['type'] === 1 ? value['strVal'] : value['intVal'];
  const entries = Object.entries(value).filter(([, entry]) => entry !== '');
  return Object.fromEntries(entries.map(([key, entry]) => [key, withoutEmpty(entry)]));
}

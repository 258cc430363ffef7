import { parseImageName } from '../lib/image-name.ts';
import type { Coordinates, PullCredential } from './pull-credentials.ts';
import type { PullCredentials, PulledRecord, SecretRecord } from './pull-records.ts';

/** The node's imagePullCredentialsVerificationPolicy and its allow list. */
export interface VerificationPolicy {
  readonly policy: 'NeverVerify' | 'NeverVerifyPreloadedImages' | 'NeverVerifyAllowlistedImages' | 'AlwaysVerify';
  /** Image names without tag, or prefixes that end in `/*`. */
  readonly allowlist: readonly string[];
}

/** Must a pod show credentials for an image that is there? `pulledByUs`: it was brought here for a pod. */
export function mustVerify({ policy, allowlist }: VerificationPolicy, image: string, pulledByUs: boolean): boolean {
  switch (policy) {
    case 'NeverVerify':
      return false;
    case 'NeverVerifyPreloadedImages':
      return pulledByUs;
    case 'NeverVerifyAllowlistedImages':
      return !isListed(image, allowlist);
    case 'AlwaysVerify':
      return true;
    default:
      return policy satisfies never;
  }
}

function isListed(image: string, allowlist: readonly string[]): boolean {
  const { base } = parseImageName(image);
  return allowlist.some((entry) => (entry.endsWith('/*') ? base.startsWith(entry.slice(0, -1)) : base === entry));
}

/** Secrets that a record holds beyond this are not added to by looking alone: namespaces come and go. */
const maxLearntByLooking = 100;

/** What a record says of a pod's credentials. */
export interface Match {
  readonly allowed: boolean;
  /** What the record should learn: the same credential under another name, or a changed one under the same. */
  readonly learn?: SecretRecord;
}

/** Has one of these credentials opened the image before? A secret counts by its content as well as by its identity. */
export function matchCredentials(known: PullCredentials, credentials: readonly PullCredential[]): Match {
  const secrets = known.kubernetesSecrets ?? [];
  for (const { secret, hash } of credentials) {
    if (!secret) continue;
    for (const record of secrets) {
      const sameContent = record.credentialHash !== '' && record.credentialHash === hash;
      const sameObject = isSame(record, secret);
      if (!sameContent && !sameObject) continue;
      const full = secrets.length >= maxLearntByLooking;
      if (sameContent && (sameObject || full)) return { allowed: true };
      if (!full) return { allowed: true, learn: { ...secret, credentialHash: hash } };
    }
  }
  const account = credentials.find((credential) => credential.serviceAccount)?.serviceAccount;
  const accounts = known.kubernetesServiceAccounts ?? [];
  return { allowed: account !== undefined && accounts.some((record) => isSame(record, account)) };
}

/** The record with what a pull has shown added; undefined when it knows that already. */
export function mergeRecord(
  record: PulledRecord | undefined,
  imageRef: string,
  base: string,
  shown: PullCredentials,
  now: number,
): PulledRecord | undefined {
  // Whole seconds, as Go writes the API's times.
  const lastUpdatedTime = new Date(now).toISOString().replace(/\.\d+Z$/, 'Z');
  if (!record) return { lastUpdatedTime, imageRef, credentialMapping: { [base]: shown } };
  const merged = mergeCredentials(record.credentialMapping[base], shown);
  if (!merged) return undefined;
  return { ...record, lastUpdatedTime, credentialMapping: { ...record.credentialMapping, [base]: merged } };
}

function mergeCredentials(known: PullCredentials | undefined, shown: PullCredentials): PullCredentials | undefined {
  const { nodePodsAccessible, kubernetesSecrets = [], kubernetesServiceAccounts = [] } = shown;
  if (!known) return shown;
  if (known.nodePodsAccessible) return undefined;
  if (nodePodsAccessible) return { nodePodsAccessible };
  const secrets = union(known.kubernetesSecrets ?? [], kubernetesSecrets);
  const accounts = union(known.kubernetesServiceAccounts ?? [], kubernetesServiceAccounts);
  if (!secrets && !accounts) return undefined;
  return {
    ...known,
    ...(secrets ? { kubernetesSecrets: secrets } : {}),
    ...(accounts ? { kubernetesServiceAccounts: accounts } : {}),
  };
}

/** One entry for each object, the newer one wins, in the order of their names; undefined when nothing changes. */
function union<T extends Coordinates>(known: readonly T[], added: readonly T[]): readonly T[] | undefined {
  const changes = added.filter((entry) => !known.some((k) => JSON.stringify(k) === JSON.stringify(entry)));
  if (changes.length === 0) return undefined;
  const kept = known.filter((entry) => !changes.some((change) => isSame(entry, change)));
  const order = ({ namespace, name, uid }: T) => [namespace, name, uid].join('\0');
  return [...kept, ...changes].sort((a, b) => (order(a) < order(b) ? -1 : 1));
}

/** What a pull has shown: without an owner of the credential, or without any, everybody on the node may have the image. */
export function shownBy(credential: PullCredential | undefined): PullCredentials {
  if (credential?.secret) {
    return { kubernetesSecrets: [{ ...credential.secret, credentialHash: credential.hash }] };
  }
  if (credential?.serviceAccount) return { kubernetesServiceAccounts: [credential.serviceAccount] };
  return { nodePodsAccessible: true };
}

const isSame = (a: Coordinates, b: Coordinates): boolean =>
  a.uid === b.uid && a.namespace === b.namespace && a.name === b.name;

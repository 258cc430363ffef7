import { createHash } from 'node:crypto';
import type { ClusterTrustBundle } from '../api/core-v1.ts';
import { meetsOperator } from '../api/label-operators.ts';
import type { LabelSelector } from '../api/meta-v1.ts';

/** The bundles whose labels the selector wants: no selector wants none, an empty one all. */
export function selectBundles(
  bundles: readonly ClusterTrustBundle[],
  selector: LabelSelector | undefined,
): readonly ClusterTrustBundle[] {
  if (!selector) return [];
  const { matchLabels = {}, matchExpressions = [] } = selector;
  return bundles.filter(({ metadata: { labels = {} } }) => {
    const isLabelled = Object.entries(matchLabels).every(([key, value]) => labels[key] === value);
    return isLabelled && matchExpressions.every((e) => meetsOperator(e.operator, e.values ?? [], labels[e.key]));
  });
}

/**
 * The certificates in PEM texts as one PEM text: each once, without headers and what stands between them. Their order
 * means nothing: it differs from `seed` to `seed`, so that nobody comes to rely on it, and stays for the same one, so
 * that nothing is written anew for it.
 */
export function trustAnchors(texts: readonly string[], seed: string): string {
  const certificates = new Set(texts.flatMap(certificatesIn));
  const place = (certificate: string) => createHash('sha256').update(`${seed} ${certificate}`).digest('hex');
  const shuffled = [...certificates].map((c) => [place(c), c] as const).sort(([a], [b]) => (a < b ? -1 : 1));
  return shuffled.map(([, c]) => `${begin}\n${c.replace(/(.{64})(?!$)/g, '$1\n')}\n${end}\n`).join('');
}

const begin = '-----BEGIN CERTIFICATE-----';
const end = '-----END CERTIFICATE-----';

/** As base64 without line breaks. */
function certificatesIn(pem: string): string[] {
  const blocks = pem.matchAll(/^-----BEGIN CERTIFICATE-----\s*?\n([\s\S]*?)^-----END CERTIFICATE-----/gm);
  return [...blocks].map(([, body = '']) => {
    const lines = body.split('\n').filter((line) => !line.includes(':'));
    return Buffer.from(lines.join(''), 'base64').toString('base64');
  });
}

import { stringify } from 'yaml';
import type { Credential } from '../pki/pki.ts';

/** A kubeconfig with everything inline, for one user at one server. */
export function kubeconfig(server: string, ca: string, user: string, identity: Credential | { token: string }): string {
  const base64 = (text: string) => Buffer.from(text, 'utf8').toString('base64');
  const credential =
    'token' in identity
      ? { token: identity.token }
      : { 'client-certificate-data': base64(identity.cert), 'client-key-data': base64(identity.key) };
  return stringify(
    {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'test', cluster: { server, 'certificate-authority-data': base64(ca) } }],
      users: [{ name: user, user: credential }],
      contexts: [{ name: 'test', context: { cluster: 'test', user } }],
      'current-context': 'test',
    },
    { lineWidth: 0 },
  );
}

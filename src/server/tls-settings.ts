import type { SecureContextOptions } from 'node:tls';
import { cipherNames, curveNames, tlsVersions } from '../config/tls-names.ts';

export interface TlsSettings {
  readonly tlsMinVersion: string;
  readonly tlsCipherSuites: readonly string[];
  readonly tlsCurvePreferences: readonly number[];
}

/** Those of TLS 1.3, which are not for choosing, as in Go. */
const tls13 = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'];

/** The configuration's TLS keys, in OpenSSL's terms. The names in them have been checked with the configuration. */
export function tlsOptionsOf(settings: TlsSettings): SecureContextOptions {
  const minVersion = tlsVersions[settings.tlsMinVersion] ?? 'TLSv1.2';
  const chosen = settings.tlsCipherSuites.flatMap((name) => cipherNames[name] ?? []);
  const curves = settings.tlsCurvePreferences.flatMap((id) => curveNames[id] ?? []);
  // OpenSSL's own level of security rules out what TLS 1.0 and 1.1 sign with.
  const old = minVersion === 'TLSv1' || minVersion === 'TLSv1.1';
  const ciphers = [...new Set([...tls13, ...chosen])];
  return {
    minVersion,
    ...(chosen.length > 0 || old
      ? { ciphers: [...(chosen.length > 0 ? ciphers : ['DEFAULT']), ...(old ? ['@SECLEVEL=0'] : [])].join(':') }
      : {}),
    ...(curves.length > 0 ? { ecdhCurve: curves.join(':') } : {}),
  };
}

import type { Exec } from '../../host/exec.ts';
import type { ModeCheck } from '../backend.ts';
import type { DesiredFrontend } from './compile.ts';
import { frontendElement } from './compile.ts';
import { planTransactions } from './diff.ts';
import { NftError, nftVersion, runNft, stderrOf } from './nft-program.ts';
import type { RulesetOptions } from './ruleset.ts';
import { emptyState } from './table-state.ts';

/** Answers whether nftables can carry Services here; nft tries the whole layout, and the kernel undoes it at once. */
export function nftUnusable(exec: Pick<Exec, 'run'>): ModeCheck {
  return async (signal) => {
    try {
      await nftVersion(exec, signal);
      await runNft(exec, ['--check', '-f', '-'], { input: sampleScript(), timeoutMs: 15_000, signal });
      return undefined;
    } catch (error) {
      if (signal.aborted || !(error instanceof NftError)) throw error;
      return error.code === 'NftFailed' ? unsupported(error) : error;
    }
  };
}

function unsupported(cause: NftError): NftError {
  // What the kernel does not know it answers with this as well as with "not supported".
  const isKernel = /not supported|initiali[sz]e Netlink|No such file/i.test(stderrOf(cause));
  if (isKernel) {
    return new NftError('NftUnsupported', 'the kernel cannot do what Services need of nftables', {
      cause,
      hint: 'load or build the kernel with nf_tables, nft_chain_nat, nft_masq, nft_fib, nft_reject and nft_numgen, or choose another mode',
    });
  }
  return new NftError('NftUnsupported', 'nft does not accept the rules for Services', {
    cause,
    hint: 'install another version of nftables, or choose another mode',
  });
}

/** Not the table that is in use, so that neither what it holds nor its layout matters. */
const options: RulesetOptions = {
  ...{ family: 'ip', table: 'keelson-check', masqueradeAll: false, masqueradeBit: 14 },
  ...{ local: { cidrs: ['192.0.2.0/24'] }, nodePortAddresses: [], localhostNodePorts: true },
};

/** One of every set, chain and kind of rule that there is. */
function sampleScript(): string {
  const endpoints = ['192.0.2.1 . 1', '192.0.2.2 . 1'];
  const outside = { endpoints, verdict: 'forward' } as const;
  const sample = (port: number, more: Partial<DesiredFrontend>): readonly [string, DesiredFrontend] => {
    const id = { ip: '192.0.2.9', proto: 'tcp', port } as const;
    return [frontendElement(id), { id, endpoints, verdict: 'forward', ...more }];
  };
  const frontends = [
    sample(1, { masquerade: 'outsiders', affinity: { servicePort: 'd/x', seconds: 60 } }),
    sample(2, { masquerade: 'everybody', sources: ['192.0.2.0/24'] }),
    sample(3, { masquerade: 'host', outside }),
    sample(4, { endpoints: [], verdict: 'reject' }),
  ];
  const hairpins = [['192.0.2.1', true] as const];
  const [all] = planTransactions(emptyState(), { frontends, hairpins }, options, Number.POSITIVE_INFINITY);
  return all?.script ?? '';
}

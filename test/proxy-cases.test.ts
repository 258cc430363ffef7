import { silentLog } from '../src/lib/log.ts';
import { NftBackend } from '../src/proxy/nftables/nft-backend.ts';
import { describeCases } from './proxy-case-run.ts';

describeCases('nftables', (exec) => new NftBackend({ exec, log: silentLog }));

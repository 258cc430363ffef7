import { Argument, Command, Option } from 'commander';

/** What `keelson svc` was asked for. */
export type SvcOptions = SvcPlanOptions | SvcDiffOptions | SvcTraceOptions;

interface CommonOptions {
  readonly output: 'text' | 'json';
  readonly socket: string;
}

export interface SvcPlanOptions extends CommonOptions {
  readonly what: 'plan';
  /** Absent: every one that the node has. */
  readonly family?: 'IPv4' | 'IPv6';
}

export interface SvcDiffOptions extends CommonOptions {
  readonly what: 'diff';
}

export interface SvcTraceOptions extends CommonOptions {
  readonly what: 'trace';
  readonly client: string;
  readonly target: string;
  readonly protocol?: string;
}

const families = { ipv4: 'IPv4', ipv6: 'IPv6' } as const;

/** `keelson svc plan|diff|trace`; `socketOption` is the option that all commands have which ask the daemon. */
export function svcCommand(act: (options: SvcOptions) => Promise<void>, socketOption: () => Option): Command {
  const svc = new Command('svc').description('show what is programmed for Services, and why');
  const outputOption = () => new Option('-o, --output <format>', 'other than plain text').choices(['json']);
  const common = (typed: { socket: string; output?: 'json' }): CommonOptions => ({
    output: typed.output ?? 'text',
    socket: typed.socket,
  });
  svc
    .command('plan')
    .description('print what would be programmed into an empty kernel for the Services of now; touches nothing')
    .addOption(new Option('--family <family>', 'one address family alone').choices(Object.keys(families)))
    .addOption(outputOption())
    .addOption(socketOption())
    .action((typed: { socket: string; output?: 'json'; family?: keyof typeof families }) =>
      act({ what: 'plan', ...common(typed), ...(typed.family ? { family: families[typed.family] } : {}) }),
    );
  svc
    .command('diff')
    .description('print how the kernel differs from that; exits with 0 when it does not, else with 1')
    .addOption(outputOption())
    .addOption(socketOption())
    .action((typed: { socket: string; output?: 'json' }) => act({ what: 'diff', ...common(typed) }));
  svc
    .command('trace')
    .description('follow one packet: which Service has it, what decides, whom it may reach, or why nobody')
    .addArgument(new Argument('<client>', 'an address, host, outside, or [namespace/]name of a pod of this node'))
    .addArgument(new Argument('<target>', '[namespace/]service:port, address:port or [ipv6-address]:port'))
    .addOption(new Option('--protocol <protocol>', 'default: tcp').choices(['tcp', 'udp', 'sctp']))
    .addOption(outputOption())
    .addOption(socketOption())
    .action((client: string, target: string, typed: { socket: string; output?: 'json'; protocol?: string }) =>
      act({
        ...{ what: 'trace', client, target, ...common(typed) },
        ...(typed.protocol ? { protocol: typed.protocol } : {}),
      }),
    );
  return svc;
}

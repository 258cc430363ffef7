import { Argument, Command, Option } from 'commander';

/** What `keelson svc` was asked for. */
export type SvcOptions = SvcPlanOptions | SvcDiffOptions | SvcTraceOptions;

interface CommonOptions {
  readonly output: 'text' | 'json';
  readonly socket: string;
}

/** Objects of files instead of those that the daemon has. */
export interface SvcFiles {
  /** At least one; `-`: the standard input. */
  readonly filenames: readonly string[];
  /** Configuration files, as `run` takes them. */
  readonly config: readonly string[];
  /** Instead of the configuration's. */
  readonly mode?: string;
  /** The node that it is for. */
  readonly hostnameOverride?: string;
}

export interface SvcPlanOptions extends CommonOptions {
  readonly what: 'plan';
  readonly files?: SvcFiles;
  /** Absent: every one that the node has. */
  readonly family?: 'IPv4' | 'IPv6';
}

export interface SvcDiffOptions extends CommonOptions {
  readonly what: 'diff';
}

export interface SvcTraceOptions extends CommonOptions {
  readonly what: 'trace';
  readonly files?: SvcFiles;
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
  const plan = svc
    .command('plan')
    .description('print what would be programmed into an empty kernel for the Services of now; touches nothing')
    .addOption(new Option('--family <family>', 'one address family alone').choices(Object.keys(families)))
    .addOption(outputOption())
    .addOption(socketOption());
  withFiles(plan).action((typed: Typed & { family?: keyof typeof families }) =>
    act({
      ...{ what: 'plan', ...common(typed), ...filesOf(plan, typed) },
      ...(typed.family ? { family: families[typed.family] } : {}),
    }),
  );
  svc
    .command('diff')
    .description('print how the kernel differs from that; exits with 0 when it does not, else with 1')
    .addOption(outputOption())
    .addOption(socketOption())
    .action((typed: { socket: string; output?: 'json' }) => act({ what: 'diff', ...common(typed) }));
  const trace = svc
    .command('trace')
    .description('follow one packet: which Service has it, what decides, whom it may reach, or why nobody')
    .addArgument(new Argument('<client>', 'an address, host, outside, or [namespace/]name of a pod of this node'))
    .addArgument(new Argument('<target>', '[namespace/]service:port, address:port or [ipv6-address]:port'))
    .addOption(new Option('--protocol <protocol>', 'default: tcp').choices(['tcp', 'udp', 'sctp']))
    .addOption(outputOption())
    .addOption(socketOption());
  withFiles(trace).action((client: string, target: string, typed: Typed & { protocol?: string }) =>
    act({
      ...{ what: 'trace', client, target, ...common(typed), ...filesOf(trace, typed) },
      ...(typed.protocol ? { protocol: typed.protocol } : {}),
    }),
  );
  return svc;
}

interface Typed {
  readonly socket: string;
  readonly output?: 'json';
  readonly filename?: readonly string[];
  readonly config?: readonly string[];
  readonly mode?: string;
  readonly hostnameOverride?: string;
}

const collect = (value: string, before: readonly string[] = []) => [...before, value];

/** The options of commands that do without the daemon. */
const withFiles = (command: Command): Command =>
  command
    .option(
      '-f, --filename <file>',
      'Services, EndpointSlices and a Node of a file, - for the standard input, instead of those of the daemon; may be given several times',
      collect,
    )
    .option('--config <file>', 'with --filename: configuration file; may be given several times', collect)
    .addOption(
      new Option(
        '--mode <mode>',
        "with --filename: how Services are programmed (instead of the configuration's)",
      ).choices(['nftables', 'iptables', 'ipvs', 'userspace']),
    )
    .option(
      '--hostname-override <name>',
      'with --filename: the node (default: the only one in the files, or this host)',
    );

function filesOf(command: Command, typed: Typed): { readonly files?: SvcFiles } {
  const { filename: filenames, config = [], mode, hostnameOverride } = typed;
  if (filenames) {
    const node = hostnameOverride === undefined ? {} : { hostnameOverride };
    return { files: { filenames, config, ...(mode === undefined ? {} : { mode }), ...node } };
  }
  const alone = config.length > 0 ? '--config' : mode ? '--mode' : hostnameOverride ? '--hostname-override' : undefined;
  if (alone) command.error(`error: ${alone} needs --filename: what the daemon has is told by its own configuration`);
  return {};
}

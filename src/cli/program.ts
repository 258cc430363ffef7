import { Argument, Command, Option } from 'commander';
import { defaultAdminSocket } from '../config/keelson-keys.ts';
import { defaultRootDir, noOptions, type RunOptions } from '../config/run-options.ts';
import { type SvcOptions, svcCommand } from './svc-command.ts';

/** What the sub-commands do. */
export interface Actions {
  run(options: RunOptions): Promise<void>;
  check(files: readonly string[]): void;
  version(): void;
  get(options: GetOptions): Promise<void>;
  why(options: WhyOptions): Promise<void>;
  cleanup(options: CleanupOptions): Promise<void>;
  svc(options: SvcOptions): Promise<void>;
}

/** What `keelson get pods` was asked for. */
export interface GetOptions {
  /** Absent: every pod of the namespace. */
  readonly name?: string;
  readonly namespace: string;
  readonly allNamespaces: boolean;
  readonly output: 'table' | 'wide' | 'json' | 'yaml';
  readonly socket: string;
}

export interface WhyOptions {
  /** 'namespace/name', or the name alone. */
  readonly pod: string;
  readonly socket: string;
}

export interface CleanupOptions {
  /** Only list. */
  readonly plan: boolean;
  /** Of the daemon that must not run meanwhile. */
  readonly rootDir: string;
}

const collect = (value: string, before: readonly string[] = []) => [...before, value];

/** '--name=value' → '--name', 'value': so that a misspelt name is found by itself, and '-v=2' is level 2. */
export function splitFlags(argv: readonly string[]): string[] {
  return argv.flatMap((word) => {
    const [, name, value] = /^(--?[a-z][\w-]*)=(.*)$/s.exec(word) ?? [];
    return name === undefined || value === undefined ? [word] : [name, value];
  });
}

/** The command line. Flags of `run` are the kubelet's, of the same names and meanings. */
export function buildProgram(actions: Actions): Command {
  const program = new Command('keelson')
    .description('A Kubernetes node agent: what kubelet and kube-proxy do, in one daemon')
    .helpOption('-h, --help', 'show this help')
    .helpCommand('help [command]', 'show the help of a command')
    .exitOverride();
  addRun(program, actions);
  addGet(program, actions);
  addWhy(program, actions);
  addCleanup(program, actions);
  program.addCommand(svcCommand((options) => actions.svc(options), socketOption));
  program
    .command('check')
    .description('check configuration files, and exit with 0 when they are good')
    .requiredOption('--config <files...>', 'the files; may be given several times')
    .action((options: { config: string[] }) => actions.check(options.config));
  program
    .command('version')
    .description('print the version')
    .action(() => actions.version());
  return program;
}

function addRun(program: Command, actions: Actions): void {
  program
    .command('run')
    .description('run the node agent')
    .option('--config <file>', 'configuration file, YAML; may be given several times', collect)
    .option('--kubeconfig <file>', 'how to reach the API server; without it keelson runs the manifest directory alone')
    .option('--hostname-override <name>', "the node's name, instead of the host's")
    .option('--node-ip <ips>', "the node's address, or one IPv4 and one IPv6 separated by a comma", collect)
    .option('--root-dir <dir>', "where the pods' files are kept", defaultRootDir)
    .option('--cert-dir <dir>', 'where certificates are kept (default: pki in the root directory)')
    .option('--node-labels <labels>', 'labels for the node when it registers: a=b,c=d', collect)
    .option('--register-with-taints <taints>', 'taints for the node when it registers: k=v:Effect,...', collect)
    .option('--pod-manifest-path <dir>', 'directory of manifests to run (instead of staticPodPath)')
    .option('--container-runtime-endpoint <socket>', "the container runtime's socket (instead of the file's)")
    .option(
      '--image-credential-provider-config <path>',
      'file or folder that names the credential providers for images',
    )
    .option('--image-credential-provider-bin-dir <dir>', 'where the programs of credential providers lie')
    .option('--proxy-mode <mode>', 'how Services are programmed (instead of mode of KubeProxyConfiguration)')
    .option('-v, --v <level>', 'how much is logged: 4 and more for everything')
    .action((typed: Partial<RunOptions>) => actions.run({ ...noOptions, ...typed }));
}

const socketOption = () =>
  new Option('--socket <path>', "the daemon's admin socket (admin.socket of its configuration)").default(
    defaultAdminSocket,
  );

function addGet(program: Command, actions: Actions): void {
  program
    .command('get')
    .description('show what runs on this node, and what each pod waits for')
    .addArgument(new Argument('<what>', 'what to show').choices(['pods', 'pod', 'po']))
    .argument('[name]', 'one pod alone')
    .option('-n, --namespace <namespace>', 'the namespace', 'default')
    .option('-A, --all-namespaces', 'pods of all namespaces', false)
    .addOption(new Option('-o, --output <format>', 'other than the plain table').choices(['wide', 'json', 'yaml']))
    .addOption(socketOption())
    .action((_what: string, name: string | undefined, typed: Partial<GetOptions> & Pick<GetOptions, 'socket'>) =>
      actions.get({
        ...(name === undefined ? {} : { name }),
        namespace: typed.namespace ?? 'default',
        allNamespaces: typed.allNamespaces === true,
        output: typed.output ?? 'table',
        socket: typed.socket,
      }),
    );
}

function addWhy(program: Command, actions: Actions): void {
  program
    .command('why')
    .description('say what a pod waits for, and how its containers and probes fare')
    .argument('<pod>', 'namespace/name, or the name of a pod in the namespace default')
    .addOption(socketOption())
    .action((pod: string, typed: { readonly socket: string }) => actions.why({ pod, socket: typed.socket }));
}

function addCleanup(program: Command, actions: Actions): void {
  program
    .command('cleanup')
    .description('remove what keelson has programmed into the kernel, in every proxy mode; not while the daemon runs')
    .option('--plan', 'only list it; the daemon may run', false)
    .option('--root-dir <dir>', "the daemon's root directory", defaultRootDir)
    .action((typed: CleanupOptions) => actions.cleanup(typed));
}

/**
 * Bundles the daemon into dist/: keelson.js, and the small programs that install.sh runs. One file
 * each and no node_modules at run time: start-up reads one file instead of a thousand, and the installed
 * tree is small.
 */
import { existsSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { build } from 'esbuild';

const root = new URL('.', import.meta.url);
const { version } = JSON.parse(await readFile(new URL('package.json', root), 'utf8'));
const entryPoints = {
  keelson: 'src/main.ts',
  'demo-images': 'install/demo-images.ts',
  join: 'install/join.ts',
  'empty-runtime': 'install/empty-runtime.ts',
};

for (const entry of Object.values(entryPoints)) {
  if (!existsSync(new URL(entry, root))) {
    console.error(`build: ${entry} is missing`);
    process.exit(1);
  }
}

await rm(new URL('dist', root), { recursive: true, force: true });
const result = await build({
  absWorkingDir: root.pathname,
  entryPoints,
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node24',
  // Names are kept so that stack traces of a customer's log can be read; only space is saved.
  minifyWhitespace: true,
  legalComments: 'linked',
  define: { 'process.env.KEELSON_VERSION': JSON.stringify(version) },
  // Several dependencies are CommonJS and call require() for Node's own modules.
  banner: {
    js: "import{createRequire as keelsonCreateRequire}from'node:module';const require=keelsonCreateRequire(import.meta.url);",
  },
  metafile: true,
  logLevel: 'warning',
});

for (const [file, { bytes, entryPoint }] of Object.entries(result.metafile.outputs)) {
  if (entryPoint) console.log(`${file}  ${Math.round(bytes / 1024)} KiB`);
}
if (process.env.KEELSON_METAFILE) await writeFile(process.env.KEELSON_METAFILE, JSON.stringify(result.metafile));

/**
 * Bundles the daemon into dist/: keelson.js, and the small programs that install.sh runs. One file
 * each and no node_modules at run time: start-up reads one file instead of a thousand, and the installed
 * tree is small. A build that fails leaves the former dist/ as it was.
 */
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('.', import.meta.url));
const dist = join(root, 'dist');

const result = await build({
  absWorkingDir: root,
  entryPoints: {
    keelson: 'src/main.ts',
    'demo-images': 'install/demo-images.ts',
    join: 'install/join.ts',
    'empty-runtime': 'install/empty-runtime.ts',
  },
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node24',
  // Names are kept so that stack traces in somebody's log can be read; only space is saved.
  minifyWhitespace: true,
  legalComments: 'linked',
  banner: {
    // Several dependencies are CommonJS and call require() for Node's own modules.
    js: "import{createRequire as keelsonCreateRequire}from'node:module';const require=keelsonCreateRequire(import.meta.url);",
  },
  write: false,
  metafile: true,
  logLevel: 'warning',
}).catch(() => process.exit(1)); // esbuild has said why

await mkdir(dist, { recursive: true });
const names = new Set(result.outputFiles.map(({ path }) => basename(path)));
for (const name of await readdir(dist)) {
  if (!names.has(name)) await rm(join(dist, name), { recursive: true });
}
for (const { path, contents } of result.outputFiles) {
  await writeFile(`${path}.new`, contents);
  await rename(`${path}.new`, path);
}
for (const [file, { bytes, entryPoint }] of Object.entries(result.metafile.outputs)) {
  if (entryPoint) console.log(`${file}  ${Math.round(bytes / 1024)} KiB`);
}

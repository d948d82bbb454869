/**
 * Before `npm pack`: the packages that go into ours (bundleDependencies) lose what makes an install
 * fail or complain elsewhere: install scripts (onnxruntime-node's asks a host for CUDA files that
 * are never used), and an `engines` that this Node version does not need. With --restore, after it,
 * they get their manifests back.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))

/** What is changed in each manifest; undefined leaves a key out. */
const CHANGES = {
  // onnxruntime-common is our own dependency; the others serve the script alone
  "onnxruntime-node": {
    scripts: undefined,
    dependencies: undefined,
    files: ["bin", "dist", "lib"],
  },
  // the binary comes in @koromix/koffi-*, which are our own optional dependencies
  koffi: { scripts: undefined, optionalDependencies: undefined },
  // of its modules only the parser is used, which Node 20 runs
  "@cortex-js/compute-engine": {
    scripts: undefined,
    engines: undefined,
    files: ["dist/esm-min", "dist/types"],
  },
}

for (const [name, changes] of Object.entries(CHANGES)) {
  const path = join(root, "node_modules", name, "package.json")
  const kept = `${path}.original`
  if (process.argv.includes("--restore")) {
    if (existsSync(kept)) renameSync(kept, path)
    continue
  }
  const text = readFileSync(existsSync(kept) ? kept : path, "utf8")
  if (!existsSync(kept)) renameSync(path, kept)
  const manifest = { ...JSON.parse(text), ...changes }
  writeFileSync(path, `${JSON.stringify(manifest, null, 2)}\n`)
}

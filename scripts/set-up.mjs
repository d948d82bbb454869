/** Installs the dependencies when they are missing or not the ones of package-lock.json. */
import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const stamp = join(root, "node_modules", ".dftune-lock")

const [major, minor] = process.versions.node.split(".").map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`dftune needs Node 20.19 or newer; this is ${process.version}`)
  process.exit(2)
}

const lock = readFileSync(join(root, "package-lock.json"))
const wanted = createHash("sha256").update(lock).digest("hex")
const installed = existsSync(stamp) ? readFileSync(stamp, "utf8") : undefined
if (installed !== wanted) {
  console.error("installing dependencies")
  // No package needs its install script; onnxruntime-node's would ask a host for CUDA files.
  // What the lock holds is tried on every Node that is asked for above, whatever a package's
  // `engines` say: npm's warnings of it are for nobody here. On Windows npm is a command file,
  // which only a shell can run.
  execFileSync("npm", ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
    shell: process.platform === "win32",
  })
  writeFileSync(stamp, wanted)
}

import { spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"

const at = (path: string) => JSON.stringify(new URL(`../../${path}`, import.meta.url).href)
/** What begins the library, and with it whatever it tells its maker. */
const begins = `import(${at("node_modules/onnxruntime-node/dist/index.js")})
  .then(({ default: ort }) => ort.InferenceSession.create(new Uint8Array(1))).catch(() => {})`

test.each([
  [
    "beside the local engine's device",
    `await import(${at("src/runtime/node.ts")}); await ${begins}`,
  ],
  [
    "in a thread",
    `await import(${at("src/host/worker.ts")})
    const { Worker } = await import("node:worker_threads")
    const worker = new Worker(${JSON.stringify(begins)}, { eval: true })
    await new Promise((ended) => worker.on("exit", ended))`,
  ],
])("ONNX Runtime leaves no device id and no database of its maker's: %s", (_, script) => {
  const home = mkdtempSync(join(tmpdir(), "dftune-telemetry-"))
  try {
    const { ORT_DISABLE_TELEMETRY: _, ...own } = process.env
    const args = ["--import", import.meta.resolve("tsx"), "--input-type=module", "-e", script]
    const env = { ...own, HOME: home, XDG_CACHE_HOME: join(home, "cache") }
    const { status, stderr } = spawnSync(process.execPath, args, {
      cwd: home,
      env,
      encoding: "utf8",
    })
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" })
    expect(readdirSync(home, { recursive: true })).toEqual([])
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
})

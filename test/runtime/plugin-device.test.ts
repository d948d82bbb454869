import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { disagreements } from "../../src/runtime/conformance/conformance.ts"
import { opCases } from "../../src/runtime/conformance/op-cases.ts"
import type { Device } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"

const folder = mkdtempSync(join(tmpdir(), "plugin-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test("a file that is not there, or is no library, is refused by its path", async () => {
  const missing = join(folder, "missing.so")
  await expect(openDevice({ device: { library: missing } })).rejects.toThrow(
    `engine.device.library: ${missing}: there is no such file`,
  )
  const text = join(folder, "text.so")
  writeFileSync(text, "no library")
  await expect(openDevice({ device: { library: text } })).rejects.toThrow(
    `${text} cannot be loaded as an execution provider of ONNX Runtime 1.`,
  )
})

test("products of a library's device are float32", async () => {
  const device = { library: join(folder, "missing.so") }
  await expect(openDevice({ device, dtype: "bf16" })).rejects.toThrow("products are float32")
})

test("a config names a library, and a misspelt key beside it is found", () => {
  const config = (device: unknown) =>
    parseConfig({
      model: "m",
      data: { train: "t.jsonl" },
      output_dir: "o",
      engine: { name: "onnx", device },
    } as never)
  expect(config({ library: "ep.so", options: { threads: "2" } }).engine).toMatchObject({
    device: { library: "ep.so", options: { threads: "2" } },
  })
  expect(() => config({ libary: "ep.so" })).toThrow("library")
  expect(() => config("gpu")).toThrow("webgpu")
})

/** The CPU, but for one kind of result. */
function faulty(device: Device, fault: (name: string, data: Float32Array) => void): Device {
  return {
    sharesHostMemory: true,
    limits: device.limits,
    products: device.products,
    description: "faulty",
    upload: (host) => device.upload(host),
    uploadFactor: (host) => device.uploadFactor(host),
    download: (tensor) => device.download(tensor),
    release: () => device.release(),
    async compile(traced) {
      const executable = await device.compile(traced)
      const run: typeof executable.run = async (feeds) => {
        const results = await executable.run(feeds)
        for (const node of traced.nodes) {
          for (const { data } of Object.values(results)) {
            if (data instanceof Float32Array) fault(node.op, data)
          }
        }
        return results
      }
      return { graph: traced, run, release: () => executable.release() }
    },
  }
}

test("an op that is computed wrongly is named, and no other", async () => {
  const cpu = await openDevice({ device: "cpu", threads: 2 })
  const wrong = faulty(cpu, (op, data) => {
    if (op === "rmsNorm") data[0]! += 1e-3
  })
  const some = opCases.filter(({ name }) => /^(rmsNorm|softmax|silu|sub)\b/.test(name))
  const found = await disagreements(wrong, 1e-5, some)
  expect(found.map(({ op }) => op)).toEqual(["rmsNorm 1", "rmsNorm 2"])
  expect(found[0]!.problem).toMatch(/^its value: y is 0\.0\d+ apart$|^its value: y is .*e-4 apart$/)
})

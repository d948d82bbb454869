import { spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { zigCommand } from "../../native/build.ts"
import { parseConfig } from "../../src/config/index.ts"
import { loadConfig } from "../../src/config/load-config.ts"
import type { RunStart, StepEvent } from "../../src/run/events.ts"
import { disagreements } from "../../src/runtime/conformance/conformance.ts"
import { opCases } from "../../src/runtime/conformance/op-cases.ts"
import type { Device } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { ran } from "../train/run-in-thread.ts"
import { sumRows, tinyModel } from "../train/tiny-model.ts"

const folder = mkdtempSync(join(tmpdir(), "plugin-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
beforeAll(() => {
  process.env.DFTUNE_CACHE = join(folder, "cache")
})
const verdicts = () => readdirSync(join(folder, "cache", "devices"))

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

/** The provider of ./provider.c, or undefined where nothing compiles it. */
function builtProvider(): string | undefined {
  if (process.platform === "win32") return undefined
  const library = join(folder, "libtestprovider.so")
  const source = fileURLToPath(new URL("provider.c", import.meta.url))
  const flags = ["-shared", "-fPIC", "-O1", "-o", library, source, "-lm"]
  const zig = zigCommand()
  const compilers = [["cc"], ...(zig ? [[...zig, "cc"]] : [])]
  const built = compilers.some(
    ([program, ...args]) => spawnSync(program!, [...args, ...flags]).status === 0,
  )
  return built ? library : undefined
}

const library = builtProvider()
if (!library) console.warn("NOT TESTED: a provider's library: no C compiler here")

describe.skipIf(!library)("a provider in a library", () => {
  const device = (takes: string, name?: string) => ({
    library: library!,
    options: { takes },
    ...(name ? { name } : {}),
  })

  test("one that takes no products is refused: the CPU would do the work", async () => {
    await expect(openDevice({ device: device("nothing") })).rejects.toThrow(
      "TestProvider 1.2.3 on a CPU",
    )
    await expect(openDevice({ device: device("nothing") })).rejects.toThrow(
      "multiplies no matrices",
    )
  })

  test("one that computes an op wrongly is refused, with the op and how far it is apart", async () => {
    const refused = openDevice({ device: device("wrong-exp"), threads: 2 })
    await expect(refused).rejects.toThrow(
      /3 differ: exp \(its value: y is 0\.000\d+ apart\); detach/,
    )
  })

  test("a device that it does not offer is refused with those that it does", async () => {
    await expect(openDevice({ device: device("products", "gpu") })).rejects.toThrow(
      /engine\.device\.name: .* offers no gpu: TestProvider 1\.2\.3 on a CPU/,
    )
  })

  test("one that computes all is opened, and known the next time", async () => {
    for (const name of ["testprovider", "CPU"]) {
      const opened = await openDevice({ device: device("products", name), threads: 2 })
      expect(opened.description).toMatch(/^TestProvider 1\.2\.3 on a CPU/)
      expect(verdicts()).toHaveLength(1)
      await opened.release()
    }
  })

  test("one whose kept verdict is cut off is tried again", async () => {
    const [file] = verdicts().map((name) => join(folder, "cache", "devices", name))
    const whole = readFileSync(file!, "utf8")
    writeFileSync(file!, "")
    await (await openDevice({ device: device("products", "CPU"), threads: 2 })).release()
    expect(readFileSync(file!, "utf8")).toBe(whole)
  })

  test("a run on it is the CPU's but for rounding, and says where it computed", async () => {
    const model = tinyModel(folder)
    const losses = async (name: string, where: object | string) => {
      const config = parseConfig({
        model,
        data: { train: [{ path: sumRows(folder, 12) }], max_length: 64 },
        ...{ objective: "dft", batch_size: 4, max_steps: 2, learning_rate: 1e-2 },
        engine: { name: "onnx", device: where, threads: 2, dtype: "fp32" },
        output_dir: join(folder, name),
      } as never)
      const { events } = await ran(config)
      const start = events.find(({ type }) => type === "run.start") as RunStart
      expect(start.device).toMatch(typeof where === "string" ? /^CPU/ : /^TestProvider 1\.2\.3/)
      return events.flatMap((event) => (event.type === "step" ? [(event as StepEvent).loss] : []))
    }
    const there = await losses("there", device("products"))
    const here = await losses("here", "cpu")
    expect(there).toHaveLength(2)
    for (const [i, loss] of there.entries()) expect(loss).toBeCloseTo(here[i]!, 5)
    expect(there).not.toEqual(here)
    await expect(loadConfig(join(folder, "there"))).rejects.toThrow(
      /engine\.device\.library: ".*libtestprovider\.so".*--allow-code/,
    )
  })
})

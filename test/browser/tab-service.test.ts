import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"
import { afterAll, expect, test } from "vitest"
import {
  connectTab,
  InputError,
  type MessageEnd,
  memoryProblem,
  serveTab,
  TabService,
  type TabSettings,
  type WebRuntime,
} from "../../src/browser/index.ts"
import { serveFolder } from "../web/static-server.ts"
import { ROWS } from "./arithmetic-rows.ts"

const MODEL = fileURLToPath(new URL("../../demo/model", import.meta.url))
const server = await serveFolder(MODEL)
const ort = createRequire(import.meta.url)("onnxruntime-web") as WebRuntime

const { port1, port2 } = new MessageChannel()
afterAll(() => {
  port1.close()
  server.close()
})
serveTab(new TabService(async () => ort), port2 as unknown as MessageEnd)
const told: { what: string; share: number | undefined }[] = []
const tab = connectTab(port1 as unknown as MessageEnd, {
  onProgress: (what, share) => told.push({ what, share }),
})
for (const port of [port1, port2]) port.start()

const SETTINGS: TabSettings = {
  objective: "dft",
  adapter: { type: "lora", r: 4 },
  ...{ batch_size: 4, max_steps: 2, micro_batch_tokens: 256, learning_rate: 1e-3 },
  data: { max_length: 192 },
}
const source = { kind: "url", url: server.url } as const
const INT8 = { name: "picked", quantization: { bits: 8, groupSize: 64 } } as const

/** What was told since the last asking. */
function progress(what: RegExp) {
  const shares = told.filter((each) => what.test(each.what)).map(({ share }) => share)
  told.length = 0
  return shares
}

test("a service goes through a run across a message port, and tells how far it is", async () => {
  await expect(tab.start("a", SETTINGS)).rejects.toThrow(/there are no rows/)
  const { description } = await tab.open({ device: "auto", threads: 1 })
  expect(description).toBe("WebAssembly, 1 thread")
  await expect(tab.rows("train", ROWS)).rejects.toThrow(/no model is loaded/)
  expect(await tab.load(source, INT8)).toMatchObject({ name: "picked", hasTemplate: true })
  expect(progress(/reading weights/).at(-1)).toBe(1)
  await tab.rows("train", ROWS, SETTINGS)

  const [one, two] = [await tab.memory(SETTINGS), await tab.memory(SETTINGS, 2)]
  expect(one.problem).toBeUndefined()
  expect(two.total - one.total).toBeCloseTo(one.runs, 0)
  for (const name of ["a", "b"]) expect(await tab.start(name, SETTINGS)).toEqual({ steps: 2 })
  for (const step of [1, 2]) {
    progress(/./)
    const events = await tab.advance("a")
    expect(events.map(({ type }) => type)).toContain("step")
    const shares = progress(new RegExp(`^step ${step}$`)) as number[]
    expect(shares.length).toBeGreaterThan(8)
    expect(shares).toEqual([...shares].sort((a, b) => a - b))
  }
  const request = { prompt: "1 + 1 = ", n: 2, temperature: 1, maxNewTokens: 5, seed: 0 }
  const said = await tab.sample("a", request)
  expect(said).toHaveLength(2)
  expect(told.map(({ what }) => what)).toContain("making ready to sample")
  expect(progress(/^sampling$/).length).toBe(said.flatMap(({ tokens }) => tokens).length)
  expect((await tab.look("b", 0)).length).toBeGreaterThan(5)
  await expect(tab.look("b", 1e6)).rejects.toThrow(InputError)
  expect([...(await tab.adapter("b")).keys()]).toContain("adapter_model.safetensors")
  await tab.release("a")
  await expect(tab.advance("a")).rejects.toThrow(/no run is called "a"/)
}, 120_000)

test("what no tab holds is refused before a run is made", () => {
  expect(memoryProblem({ arrays: 1e8, heap: 1e8 })).toBeUndefined()
  expect(memoryProblem({ arrays: 0, heap: 5e9 })).toMatch(/5\.0 GB of WebAssembly's memory/)
  expect(memoryProblem({ arrays: 1e15, heap: 0 })).toMatch(/more than any tab has/)
})

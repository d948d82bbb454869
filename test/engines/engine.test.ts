import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { planOf, train } from "../../src/engines/index.ts"
import { InputError } from "../../src/errors.ts"
import { probe } from "../../src/train/probe.ts"
import { sumRows, tinyModel } from "../train/tiny-model.ts"

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dftune-engine-"))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const configOf = (name: string, engine: object) =>
  parseConfig({
    model: tinyModel(folder),
    data: { train: [sumRows(folder, 12)] },
    batch_size: 4,
    max_steps: 1,
    engine: engine as never,
    output_dir: join(folder, name),
  })

test("a config of the torch engine is never trained by the local one", async () => {
  const output = join(folder, "torch-run")
  const python = join(folder, "no-python")
  const run = train(configOf("torch-run", { name: "torch", python }))
  await expect(run.result).rejects.toThrow(InputError)
  await expect(run.result).rejects.toThrow(/python/i)
  expect(existsSync(join(output, "model"))).toBe(false)
})

test("a plan says what the engine of the config would do", async () => {
  const local = await planOf(configOf("a", { name: "onnx" }))
  const torch = await planOf(configOf("a", { name: "torch", nproc_per_node: 2 }))
  const said = ({ lines }: typeof local) => Object.fromEntries(lines)
  expect(said(local)).toMatchObject({ engine: "onnx", steps: "1 of 4 rows" })
  expect(said(local).memory).toMatch(/^about .*weights/)
  expect(said(torch)).toMatchObject({ engine: "torch", processes: "2; torchrun" })
  expect(said(torch)["micro-batch"]).toMatch(/16,384 tokens on a GPU/)
  expect(said(torch).memory).not.toMatch(/about/)
  expect(torch.json).toMatchObject({ engine: "torch", micro_batch_tokens: "auto" })
})

test("a probe of a torch config measures probabilities and estimates nothing", async () => {
  const result = await probe(configOf("b", { name: "torch" }))
  expect(result.sources[0]!.mean_p).toBeGreaterThan(0)
  expect(result.estimate).toBeNull()
  expect(result.warnings.map(({ code }) => code)).toContain("no-estimate")
})

test("a probe that is asked to stop ends in the middle of its measuring", async () => {
  const stop = new AbortController()
  const onProgress = (message: string) => {
    if (message.startsWith("measuring a step")) stop.abort(new Error("Ctrl-C"))
  }
  const stopped = probe(configOf("stopped", { name: "onnx" }), { signal: stop.signal, onProgress })
  await expect(stopped).rejects.toThrow("Ctrl-C")
})

test("a run whose events nobody reads goes on, and its result settles", async () => {
  const run = train(configOf("unread", { name: "onnx" }))
  expect(await run.result).toMatchObject({ reason: "done", steps: 1 })
  const types: string[] = []
  for await (const { type } of run) types.push(type)
  expect(types[0]).toBe("run.start")
  expect(types.at(-1)).toBe("run.end")
})

test("a run that is stopped before it has begun says so by its error's name", async () => {
  const run = train(configOf("stopped", { name: "onnx" }), { signal: AbortSignal.abort() })
  await expect(run.result).rejects.toMatchObject({ name: "AbortError" })
})

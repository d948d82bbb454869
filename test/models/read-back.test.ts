import { execFile } from "node:child_process"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import {
  loadModel,
  readAdapter,
  saveAdapter,
  saveModel,
  type Weights,
} from "../../src/models/files/index.ts"
import {
  type CheckpointDtype,
  decoderParameters,
  loraParameters,
  mergeAdapter,
} from "../../src/models/index.ts"
import { pythonWith } from "../python-with.ts"
import { goldenLogits, goldenTokenIds, largestError, MODELS } from "./golden-logits.ts"
import { adapted as families } from "./golden-models.ts"

const SCRIPT = fileURLToPath(new URL("./read-back.py", import.meta.url))

const python = pythonWith("torch", "transformers", "peft")
const found = python ?? "absent: no Python with torch, transformers and peft; set DFTUNE_PYTHON"

/** Rounding is the same for all families. */
const HALVED = ["llama", "qwen2"]

interface Answer {
  readonly loading: Readonly<Record<string, readonly string[]>>
  readonly dtype: string
  readonly logits: readonly number[]
  readonly class: string
}

describe.skipIf(!python)(`read back by Transformers and PEFT (${found})`, () => {
  let scratch: string
  const answers = new Map<string, Answer>()

  /** A golden model as dftune writes it, with its adapter merged in where asked. */
  async function written(family: string, dtype: CheckpointDtype, merged: boolean): Promise<string> {
    const { config, weights } = await loadModel(MODELS + family)
    if (merged) {
      const adapter = await readAdapter(`${MODELS}${family}/adapter`, config.shape)
      mergeAdapter(weights, adapter.tensors, adapter)
    }
    const folder = await mkdtemp(join(scratch, `${family}-`))
    const source = (held: Weights) =>
      decoderParameters(config.shape).map(({ name, shape }) => ({
        name,
        shape,
        read: async () => held.get(name)!,
      }))
    await saveModel(folder, {
      config,
      tensors: source(weights),
      dtype,
      source: MODELS + family,
    })
    return folder
  }

  async function writtenAdapter(family: string): Promise<string> {
    const { config } = await loadModel(MODELS + family)
    const { spec, tensors } = await readAdapter(`${MODELS}${family}/adapter`, config.shape)
    const folder = await mkdtemp(join(scratch, `${family}-adapter-`))
    await saveAdapter(folder, {
      spec,
      baseModel: MODELS + family,
      tensors: loraParameters(config.shape, spec).map(({ name, shape }) => ({
        name,
        shape,
        read: async () => tensors.get(name)!,
      })),
    })
    return folder
  }

  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), "dftune-read-back-"))
    const requests = new Map<string, object>()
    for (const family of families) {
      const token_ids = goldenTokenIds(family)
      const model = await written(family, "float32", false)
      requests.set(`${family} float32`, { model, token_ids })
      requests.set(`${family} adapter`, { model, adapter: await writtenAdapter(family), token_ids })
      requests.set(`${family} merged`, { model: await written(family, "float32", true), token_ids })
      if (!HALVED.includes(family)) continue
      const half = await written(family, "bfloat16", true)
      requests.set(`${family} merged bfloat16`, { model: half, token_ids })
    }
    const file = join(scratch, "requests.json")
    await writeFile(file, JSON.stringify([...requests.values()]))
    const environment = { ...process.env, HF_HUB_OFFLINE: "1" }
    const { stdout } = await promisify(execFile)(python!, [SCRIPT, file], {
      maxBuffer: 1 << 26,
      env: environment,
    })
    const read = JSON.parse(stdout) as Answer[]
    for (const [i, name] of [...requests.keys()].entries()) answers.set(name, read[i]!)
  }, 300_000)
  afterAll(() => rm(scratch, { recursive: true }))

  test.each(families)(
    "%s: every tensor is found, and the logits are the original's",
    async (family) => {
      const answer = answers.get(`${family} float32`)!
      expect(answer.dtype).toBe("torch.float32")
      expect(Object.values(answer.loading).flat()).toEqual([])
      expect(largestError(answer.logits, await goldenLogits(family))).toBeLessThan(1e-5)
    },
  )
  test.each(families)("%s: PEFT loads the adapter and gives its logits", async (family) => {
    const answer = answers.get(`${family} adapter`)!
    expect(answer.class).toMatch(/^Peft/)
    expect(largestError(answer.logits, await goldenLogits(`${family}/adapter`))).toBeLessThan(2e-5)
  })
  test.each(families)("%s: the merged model gives the adapter's logits", async (family) => {
    const answer = answers.get(`${family} merged`)!
    expect(Object.values(answer.loading).flat()).toEqual([])
    expect(largestError(answer.logits, await goldenLogits(`${family}/adapter`))).toBeLessThan(1e-4)
  })
  test.each(HALVED)(
    "%s: merged in bfloat16, it is read as bfloat16 and is near",
    async (family) => {
      const answer = answers.get(`${family} merged bfloat16`)!
      expect(answer.dtype).toBe("torch.bfloat16")
      const expected = await goldenLogits(`${family}/adapter`)
      const scale = Math.max(...expected.map(Math.abs))
      expect(largestError(answer.logits, expected) / scale).toBeLessThan(0.1)
    },
  )
})

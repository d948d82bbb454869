import { execFile } from "node:child_process"
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterAll, beforeAll, expect, test } from "vitest"
import { writeSafetensors } from "../../src/formats/safetensors-files.ts"
import { modelConfig } from "../../src/models/families/model-config.ts"
import { decoderParameters, elementCount } from "../../src/models/index.ts"
import { tinyModel } from "./tiny-model.ts"

const SCRIPT = fileURLToPath(new URL("./peak-once.ts", import.meta.url))
const DEMO = fileURLToPath(new URL("../../demo/model", import.meta.url))
const TOKENS = 256
const LONG_TOKENS = 3072
let folder: string
const models: Record<string, string> = {}

/** A model of 17 million parameters, on the tiny one's tokenizer. */
async function middleModel(): Promise<string> {
  const path = tinyModel(folder)
  const json = {
    ...JSON.parse(readFileSync(join(path, "config.json"), "utf8")),
    hidden_size: 512,
    intermediate_size: 2048,
    num_hidden_layers: 4,
    num_attention_heads: 8,
    num_key_value_heads: 8,
    head_dim: 64,
    max_position_embeddings: 2048,
  }
  writeFileSync(join(path, "config.json"), JSON.stringify(json))
  const { shape } = modelConfig(json)
  const tensors = decoderParameters(shape).map(({ name, shape: dims }) => {
    const values = Float32Array.from({ length: elementCount(dims) }, (_, i) => Math.sin(i) / 30)
    return { name, dtype: "F32" as const, shape: dims, data: new Uint8Array(values.buffer) }
  })
  await writeSafetensors(join(path, "model.safetensors"), tensors, { format: "pt" })
  return path
}

/** The bundled model with its context raised. */
function longModel(): string {
  const path = join(folder, "long")
  cpSync(DEMO, path, { recursive: true })
  const json = JSON.parse(readFileSync(join(path, "config.json"), "utf8"))
  const raised = { ...json, max_position_embeddings: 4 * LONG_TOKENS }
  writeFileSync(join(path, "config.json"), JSON.stringify(raised))
  return path
}

const cut = (tokens: number) => ({
  data: { train: [{ path: join(folder, "rows.jsonl") }], max_length: tokens, supervise: "all" },
})

/** Of a run in a process of its own, in bytes. */
async function measured(model: string, name: string, own: object): Promise<Record<string, number>> {
  const config = {
    model: models[model],
    ...{ batch_size: 2, max_steps: 2, eval_steps: 0, save_steps: 0, learning_rate: 1e-5 },
    engine: { name: "onnx", device: "cpu", threads: 2 },
    output_dir: join(folder, `run-${model}-${name}`),
    ...own,
  }
  const path = join(folder, `${model}-${name}.json`)
  writeFileSync(path, JSON.stringify(config))
  const args = ["--import", "tsx", SCRIPT, path]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  return JSON.parse(stdout.trim().split("\n").at(-1)!)
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "dftune-planned-memory-"))
  models.demo = DEMO
  models.middle = await middleModel()
  models.long = longModel()
  const text = readFileSync(new URL("../../docs/method.md", import.meta.url), "utf8")
  const rows = Array.from({ length: 6 }, (_, i) => ({ text: text.slice(i * 50, i * 50 + 12_000) }))
  writeFileSync(join(folder, "rows.jsonl"), rows.map((row) => `${JSON.stringify(row)}\n`).join(""))
  // where tsx has kept nothing yet, translating the sources takes memory of its own: not of a run
  await measured("demo", "first", cut(TOKENS))
}, 240_000)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const LORA = { adapter: { type: "lora", r: 8, lora_alpha: 16 } }

test.each<[string, string, object, number?]>([
  ["demo", "full", {}],
  // scores of all chunks at once were 200 MB of it
  ["long", "full", { batch_size: 1, max_steps: 1 }, LONG_TOKENS],
  ["middle", "full", {}],
  ["middle", "lora", LORA],
  ["middle", "int4", { ...LORA, quantization: "int4" }],
])(
  "%s, %s: plan and fit say the peak of the process within a tenth",
  async (model, way, own, tokens = TOKENS) => {
    const { planned, fit, peak } = await measured(model, way, { ...own, ...cut(tokens) })
    const shown = `planned ${planned}, fit ${fit}, peak ${peak}`
    for (const said of [planned, fit]) {
      expect(Math.abs(said! / peak! - 1), shown).toBeLessThan(0.1)
    }
  },
  240_000,
)

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { parseConfig } from "../../../src/config/index.ts"
import { planOf } from "../../../src/engines/index.ts"
import { modelConfig } from "../../../src/models/index.ts"
import { objectiveFromConfig } from "../../../src/objectives/index.ts"
import { picturesOf } from "../../../src/train/row-options.ts"
import { sumRows, tinyModel } from "../../train/tiny-model.ts"

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dftune-any-model-"))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** The plan of a run on a model whose config.json is the tiny model's with some keys changed. */
function planned(
  changes: Record<string, unknown>,
  engine: "onnx" | "torch" = "torch",
  more: object = {},
) {
  const model = tinyModel(folder)
  const path = join(model, "config.json")
  const json = JSON.parse(readFileSync(path, "utf8"))
  writeFileSync(path, JSON.stringify({ ...json, ...changes }))
  const config = parseConfig({
    model,
    data: { train: [{ path: sumRows(folder, 12) }], max_length: 64 },
    max_steps: 2,
    batch_size: 4,
    engine,
    output_dir: join(folder, "run"),
    ...more,
  })
  return planOf(config)
}
const lineOf = (plan: Awaited<ReturnType<typeof planned>>, name: string) =>
  plan.lines.find(([key]) => key === name)?.[1]

describe("engine torch takes what Transformers has", () => {
  const positions = { max_position_embeddings: undefined }
  test.each([
    ["gpt2", { ...positions, n_positions: 64, num_hidden_layers: undefined, n_layer: 2 }, 2],
    ["mamba2", positions, 1],
    ["mixtral", { num_local_experts: 4, output_router_logits: true }, 1],
    ["a-family-to-come", {}, 1],
  ])("%s", async (model_type, changes, layers) => {
    const plan = await planned({
      num_hidden_layers: 1,
      ...changes,
      model_type,
      architectures: null,
    })
    expect(lineOf(plan, "model")).toContain(`${model_type}, ${layers} layers`)
  })

  test.each([
    ["a-family-to-come", /asks for this many layers: 900, and the checkpoint has tensors of 2/],
    ["llama", /asks for this many layers: 900, and the checkpoint has tensors of 2/],
  ])("%s with more layers than tensors is refused", async (model_type, message) => {
    await expect(planned({ model_type, num_hidden_layers: 900 })).rejects.toThrow(message)
  })

  test("a family of the local engine with what that has not", async () => {
    const changes = { rope_parameters: { rope_type: "of-tomorrow", rope_theta: 1e4 } }
    await expect(planned(changes, "onnx")).rejects.toThrow("rope_type")
    expect(lineOf(await planned(changes), "model")).toContain("layers")
  })

  test.each([
    [{ model_type: "gpt2", auto_map: { AutoModelForCausalLM: "x.Y" } }, "auto_map"],
    [{ model_type: "gpt2", quantization_config: { quant_method: "gptq" } }, "quantised"],
    [{ model_type: 7 }, "model_type"],
    [{ model_type: "gpt2", vocab_size: undefined, text_config: {} }, "vocab_size"],
  ])("%o is refused", async (changes, message) => {
    await expect(planned(changes)).rejects.toThrow(message)
  })

  test("rows must fit it", async () => {
    await expect(planned({ model_type: "gpt2", vocab_size: 5 })).rejects.toThrow("vocab_size is 5")
    const short = await planned({ model_type: "gpt2", max_position_embeddings: 2 })
    expect(short.warnings.map(({ code }) => code)).toContain("longer-than-context")
  })

  test.each([
    [{ generate_samples: { every: 1 } }, "generate_samples"],
    [{ model_tokens: ["<new>"] }, "model_tokens"],
    [{ objective: "reward" }, "objective: reward"],
  ])("with a model of vision and language %j is refused", async (more, message) => {
    const model = resolve("golden/pictures/smolvlm")
    const config = parseConfig({
      ...{ model, engine: "torch", data: { train: [{ path: "rows.jsonl" }] } },
      ...more,
    })
    const objective = objectiveFromConfig(config.objective)
    await expect(picturesOf(config, model, objective)).rejects.toThrow(message)
    const local = parseConfig({ ...more, model, data: { train: [{ path: "rows.jsonl" }] } })
    expect(await picturesOf(local, model, objective)).toEqual({})
  })

  test("the local engine still names its own", async () => {
    await expect(planned({ model_type: "gpt2" }, "onnx")).rejects.toThrow("llama")
    expect(() => modelConfig({ model_type: "gpt2" })).toThrow("llama")
  })
})

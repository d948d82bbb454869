import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { loadModel, saveModel } from "../../src/models/files/index.ts"
import { decoderParameters } from "../../src/models/index.ts"
import { closeRows, planRun } from "../../src/train/plan.ts"
import { sumRows, tinyModel } from "./tiny-model.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-alike-"))
const END = 2
const models: Record<string, string> = {}
afterAll(() => rmSync(root, { recursive: true, force: true }))

/** The model with the row of `to` in place of the end's, a little longer. */
async function alikeModel(name: string, family: string, to: number): Promise<string> {
  const source = tinyModel(join(root, name), family)
  const { config, weights } = await loadModel(source)
  const head = weights.get("lm_head.weight") ?? weights.get("model.embed_tokens.weight")!
  const { hiddenSize } = config.shape
  const row = head.subarray(to * hiddenSize, (to + 1) * hiddenSize)
  head.set(
    row.map((x) => 1.005 * x),
    END * hiddenSize,
  )
  const folder = join(root, name, "model")
  const tensors = decoderParameters(config.shape).map(({ name, shape }) => ({
    ...{ name, shape },
    read: async () => weights.get(name)!,
  }))
  await saveModel(folder, { config, tensors, dtype: "float32", source })
  return folder
}

beforeAll(async () => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  sumRows(root, 20)
  models.apart = tinyModel(join(root, "apart"))
  models.own = await alikeModel("own", "llama", 1)
  models.tied = await alikeModel("tied", "qwen2", 0)
  models.letter = await alikeModel("letter", "llama", 10)
})

async function alikeWarnings(model: string, adapter: object | null) {
  const lora = adapter && { type: "lora", r: 2, ...adapter }
  const plan = await planRun(
    parseConfig({
      ...{ model, batch_size: 4, max_steps: 60, output_dir: join(root, "out") },
      data: { train: [join(root, "sums.jsonl")], max_length: 64 },
      ...(lora ? { adapter: lora } : {}),
    }),
  )
  closeRows(plan)
  return plan.lints.filter(({ code }) => code === "alike-tokens")
}

test("an end of turn that an adapter cannot tell from another token is told", async () => {
  expect(await alikeWarnings(models.own!, {})).toEqual([
    {
      code: "alike-tokens",
      message:
        '"</s>" is trained, and the model cannot tell it from "<s>": their rows of the head are alike, and the adapter leaves the head as it is',
      hint: expect.stringMatching(/^adapter\.modules_to_save: \[lm_head\] trains the head too; /),
    },
  ])
})

test("of a tied head it is the embedding that can be trained", async () => {
  const [warning] = await alikeWarnings(models.tied!, {})
  expect(warning?.message).toMatch(/^"<\/s>" is trained, .* from "<unk>": /)
  expect(warning?.hint).toMatch(/modules_to_save: \[embed_tokens\]/)
})

test.each([
  ["tokens apart", "apart", {}],
  ["no adapter", "own", null],
  ["a head that trains", "own", { modules_to_save: ["lm_head"] }],
  ["a tied head that trains", "tied", { modules_to_save: ["lm_head"] }],
  ["a letter alike, which is compared with no end", "letter", {}],
])("nothing is told of %s", async (_, name, adapter) => {
  expect(await alikeWarnings(models[name]!, adapter)).toEqual([])
})

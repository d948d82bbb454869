/**
 * Writes a Qwen2 model with random weights, its tokenizer, and the text to train it on.
 *
 *     npx tsx demo/initialise.ts [folder]      # default: runs/demo-base
 */
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { writeFileAtomic } from "../src/formats/index.ts"
import { readModelConfig, saveModel } from "../src/models/files/index.ts"
import { decoderParameters } from "../src/models/index.ts"
import { randomStream } from "../src/random.ts"
import { documents } from "./text.ts"
import { tokenizerFiles } from "./tokenizer.ts"

const folder = process.argv[2] ?? "runs/demo-base"
const SHAPE = {
  hidden_size: 128,
  intermediate_size: 512,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
}
/** Standard deviation of the weights; of the layers that write into the residual, less (GPT-2). */
const INITIALIZER_RANGE = 0.05

const start = join(folder, "start")
mkdirSync(start, { recursive: true })
const json = (value: unknown) => `${JSON.stringify(value, null, 1)}\n`

const files = tokenizerFiles(documents(0, 20_000), 251)
writeFileSync(join(start, "tokenizer.json"), json(files.tokenizer))
writeFileSync(join(start, "tokenizer_config.json"), json(files.config))
writeFileSync(join(start, "generation_config.json"), json(files.generation))
const config = {
  architectures: ["Qwen2ForCausalLM"],
  model_type: "qwen2",
  vocab_size: files.vocabSize,
  ...SHAPE,
  hidden_act: "silu",
  max_position_embeddings: 256,
  rms_norm_eps: 1e-6,
  rope_theta: 10_000,
  tie_word_embeddings: true,
  use_sliding_window: false,
  attention_dropout: 0,
  initializer_range: INITIALIZER_RANGE,
  eos_token_id: files.eosTokenId,
  torch_dtype: "float32",
}
writeFileSync(join(start, "config.json"), json(config))

const random = randomStream(0, "demo weights")
/** Box and Muller's transform. */
const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())

const { shape } = await readModelConfig(start)
const tensors = decoderParameters(shape).map((parameter) => {
  const size = parameter.shape.reduce((product, dim) => product * dim, 1)
  const writesResidual = /(o_proj|down_proj)\.weight$/.test(parameter.name)
  const deviation =
    INITIALIZER_RANGE / (writesResidual ? Math.sqrt(2 * SHAPE.num_hidden_layers) : 1)
  const values = Float32Array.from({ length: size }, () =>
    parameter.name.endsWith("norm.weight")
      ? 1
      : parameter.name.endsWith("bias")
        ? 0
        : deviation * normal(),
  )
  return { name: parameter.name, shape: parameter.shape, read: async () => values }
})
await saveModel(start, { config: { json: config }, tensors, dtype: "float32", source: start })

/** Training text of the two halves of the recipe, and what its loss is measured on. */
const TEXTS = [
  { file: "text.jsonl", seed: 1, count: 400_000 },
  { file: "held-out.jsonl", seed: 2, count: 300 },
  { file: "more-text.jsonl", seed: 3, count: 40_000 },
] as const
for (const { file, seed, count } of TEXTS) {
  const lines = Array.from(documents(seed, count), (text) => JSON.stringify({ text }))
  await writeFileAtomic(join(folder, file), `${lines.join("\n")}\n`)
}
const parameters = tensors.reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0)
console.error(`${folder}: ${parameters} parameters`)

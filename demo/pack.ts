/**
 * Writes a trained demo model to demo/model in bfloat16.
 *
 *     npx tsx demo/pack.ts runs/demo-base/decay/model
 */
import { mkdir } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { assert } from "../src/errors.ts"
import { loadModel, saveModel } from "../src/models/files/index.ts"
import { decoderParameters } from "../src/models/index.ts"

const [source] = process.argv.slice(2)
assert(source !== undefined, "the trained model's folder")
const target = fileURLToPath(new URL("./model", import.meta.url))
await mkdir(target, { recursive: true })
const { config, weights } = await loadModel(source)
await saveModel(target, {
  config,
  tensors: decoderParameters(config.shape).map(({ name, shape }) => ({
    name,
    shape,
    read: async () => weights.get(name)!,
  })),
  dtype: "bfloat16",
  source,
})

import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { describe, expect, test } from "vitest"
import { CachedDecoder } from "../../src/models/decoding/cached-decoder.ts"
import { PackedModel } from "../../src/models/decoding/packed-model.ts"
import { loadModel, openWeights } from "../../src/models/files/index.ts"
import { Decoder, decoderParameters, EMBEDDING, packSequences } from "../../src/models/index.ts"
import { float32 } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { sftSettings } from "./losses.ts"

const GOLDEN = fileURLToPath(new URL("../../golden/real-models.json", import.meta.url))

interface Reference {
  readonly greedy: readonly {
    readonly prompt: number[]
    readonly token_ids: number[]
    readonly logprobs: number[]
  }[]
  readonly long: { readonly token_ids: number[]; readonly nll: number[] }
}
const { models } = JSON.parse(readFileSync(GOLDEN, "utf8")) as {
  readonly models: Readonly<Record<string, Reference>>
}
const folder = process.env.DFTUNE_REAL_MODELS ?? ""

// golden/README.md says where the folders come from.
describe.each(Object.entries(models))("%s, real weights", (name, reference) => {
  const path = join(folder, name)
  const absent = folder === "" || !existsSync(join(path, "config.json"))
  const why = absent ? ` (absent: no ${name} in DFTUNE_REAL_MODELS)` : ""

  test.skipIf(absent)(
    `greedy tokens and their log-probabilities are Transformers'${why}`,
    async () => {
      const device = await openDevice({ device: "cpu", threads: 2 })
      const source = await openWeights(path)
      const model = await PackedModel.pack({
        device,
        shape: source.config.shape,
        weight: source.read,
        embeddingRow: (id, into) => source.readRows(EMBEDDING, id, into),
      })
      const decoder = new CachedDecoder(model)
      for (const { prompt, token_ids, logprobs } of reference.greedy) {
        const cache = await decoder.newCache(1, 1)
        let hidden = await decoder.prefill(cache, Int32Array.from(prompt))
        for (const [i, expected] of token_ids.entries()) {
          const { logits, top, logSumExp } = await decoder.next(hidden, [0])
          expect(logits[0]!.indexOf(top[0]!)).toBe(expected)
          expect(Math.abs(top[0]! - logSumExp[0]! - logprobs[i]!)).toBeLessThan(1e-3)
          hidden = await decoder.decode(cache, [expected], [prompt.length + i])
        }
        cache.dispose()
      }
      await decoder.release()
      await model.release()
      await source.close()
      await device.release()
    },
    120_000,
  )

  test.skipIf(absent)(
    `the NLL of a long row is Transformers'${why}`,
    async () => {
      const device = await openDevice({ device: "cpu", threads: 2 })
      const { config, weights } = await loadModel(path)
      const tensors = decoderParameters(config.shape).map(
        ({ name, shape }) => [name, float32(shape, weights.get(name)!)] as const,
      )
      const options = { device, shape: config.shape, weights: new Map(tensors) }
      const decoder = await Decoder.open(options, { trained: false })
      const { token_ids, nll } = reference.long
      const tokenIds = Int32Array.from(token_ids)
      const lossMask = new Uint8Array(tokenIds.length).fill(1)
      const pack = packSequences([{ tokenIds, lossMask }])
      const { loss } = await decoder.evaluate(pack, sftSettings)
      const apart = nll.map((value, i) => Math.abs(loss![i]! - value))
      expect(Math.max(...apart)).toBeLessThan(2e-3)
      await decoder.release()
      await device.release()
    },
    120_000,
  )
})

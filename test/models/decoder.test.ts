import { existsSync, readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { afterAll, describe, expect, test } from "vitest"
import { openCheckpoint, openSafetensors } from "../../src/formats/index.ts"
import { Decoder, type HeadSettings } from "../../src/models/decoder/decoder.ts"
import { packSequences } from "../../src/models/decoder/pack.ts"
import { modelConfig } from "../../src/models/families/model-config.ts"
import { float32, type HostTensor } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { dftSettings, sftSettings } from "./losses.ts"

const MODELS = fileURLToPath(new URL("../../golden/models/", import.meta.url))
const families = readdirSync(MODELS).filter((name) =>
  existsSync(`${MODELS}${name}/model.safetensors`),
)

interface Golden {
  readonly sequences: readonly { readonly token_ids: number[]; readonly loss_mask: number[] }[]
  readonly sft_loss: number
  readonly dft_loss: number
}

const device = await openDevice({ device: "cpu", threads: 2 })
afterAll(() => device.release())

async function checkpoint(folder: string): Promise<Map<string, HostTensor>> {
  const reader = await openCheckpoint(folder)
  const weights = new Map<string, HostTensor>()
  for (const [name, { shape }] of reader.tensors) {
    weights.set(name, float32(shape, await reader.readFloat32(name)))
  }
  await reader.close()
  return weights
}

const relative = (a: Float32Array, b: Float32Array) => {
  let error = 0
  let size = 0
  b.forEach((value, i) => {
    error += (a[i]! - value) ** 2
    size += value ** 2
  })
  return Math.sqrt(error / (size + 1e-30))
}

describe.each(families)("%s", (family) => {
  const folder = `${MODELS}${family}`
  const config = modelConfig(JSON.parse(readFileSync(`${folder}/config.json`, "utf8")))
  const golden = JSON.parse(readFileSync(`${folder}/golden.json`, "utf8")) as Golden
  const pack = packSequences(
    golden.sequences.map(({ token_ids, loss_mask }) => ({
      tokenIds: Int32Array.from(token_ids),
      lossMask: Uint8Array.from(loss_mask),
    })),
  )

  const cases: [string, HeadSettings, number][] = [
    ["sft", sftSettings, golden.sft_loss],
    ["dft", dftSettings, golden.dft_loss],
  ]
  for (const level of ["keep", "products", "recompute"] as const) {
    test.each(cases)(
      `%s: loss and every gradient are PyTorch's (${level})`,
      async (name, settings, loss) => {
        const weights = await checkpoint(folder)
        const decoder = await Decoder.open({
          device,
          shape: config.shape,
          weights,
          headRows: 16,
          keep: () => level,
        })
        const statistics = await decoder.train(pack, settings)
        const count = pack.labels.length
        const mean = statistics.loss!.reduce((sum, value) => sum + value, 0) / count
        expect(mean).toBeCloseTo(loss, 5)

        const reader = await openSafetensors(`${folder}/golden.safetensors`)
        for (const [key, gradient] of decoder.gradients) {
          const expected = await reader.readFloat32(`${name}.grad.${key}`)
          const got = (gradient.data as Float32Array).map((value) => value / count)
          expect(relative(got, expected), key).toBeLessThan(2e-5)
        }
        await reader.close()
        await decoder.release()
      },
    )
  }
})

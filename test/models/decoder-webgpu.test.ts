import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"
import { loadModel } from "../../src/models/files/index.ts"
import { Decoder, decoderParameters, packSequences } from "../../src/models/index.ts"
import { float32 } from "../../src/runtime/index.ts"
import { deviceOrSay } from "../runtime/devices.ts"
import { dftSettings } from "./losses.ts"

const FOLDER = fileURLToPath(new URL("../../golden/models/qwen3", import.meta.url))

test("training on WebGPU gives PyTorch's loss, step after step, and lets go of its tensors", async ({
  skip,
}) => {
  const device = await deviceOrSay("webgpu")
  if (!device) return skip("no webgpu here")
  const golden = JSON.parse(readFileSync(`${FOLDER}/golden.json`, "utf8"))
  const { config, weights } = await loadModel(FOLDER)
  const host = new Map(
    decoderParameters(config.shape).map(({ name, shape }) => [
      name,
      float32(shape, weights.get(name)!),
    ]),
  )
  const decoder = await Decoder.open({
    device,
    shape: config.shape,
    weights: host,
    headRows: 16,
  })
  const pack = packSequences(
    golden.sequences.map((row: { token_ids: number[]; loss_mask: number[] }) => ({
      tokenIds: Int32Array.from(row.token_ids),
      lossMask: Uint8Array.from(row.loss_mask),
    })),
  )
  for (let step = 0; step < 2; step++) {
    await decoder.zeroGradients()
    const { loss } = await decoder.train(pack, dftSettings)
    const mean = loss!.reduce((sum, value) => sum + value, 0) / loss!.length
    expect(mean).toBeCloseTo(golden.dft_loss, 5)
  }
  for (const gradient of decoder.gradients.values()) {
    const { data } = await device.download(gradient)
    expect((data as Float32Array).every(Number.isFinite)).toBe(true)
  }
  await decoder.release()
  await device.release()
}, 300_000) // a software GPU compiles its shaders slowly

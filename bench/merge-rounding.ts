/**
 * What of an adapter's effect is left when it is folded into bfloat16, by the rule of rounding:
 *
 *     npm run bench -- merge-rounding runs/my-lora
 *
 * nearest     round to nearest, ties to even: what `dftune export --to merged` does
 * stochastic  up or down with the probability that keeps the mean
 * feedback    to nearest, the error carried to the next weight of the row: the row's sum is kept
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { adapterEffect } from "../src/export/adapter-effect.ts"
import { withTensors } from "../src/export/hugging-face.ts"
import { stochasticallyRounded } from "../src/export/stochastic-rounding.ts"
import { bf16ToFloat32, float32ToBf16 } from "../src/formats/index.ts"
import { modelFolders } from "../src/generate/index.ts"
import { copySideFiles, saveModel } from "../src/models/files/index.ts"
import type { TensorSource } from "../src/models/index.ts"
import { randomStream } from "../src/random.ts"

type Rounding = (values: Float32Array, columns: number) => Float32Array

function nearest(values: Float32Array): Float32Array {
  return bf16ToFloat32(float32ToBf16(values, new Uint16Array(values.length)), values)
}

const stochastic: Rounding = (values) =>
  stochasticallyRounded(values, "bfloat16", randomStream(0, "merge-rounding"))

function feedback(values: Float32Array, columns: number): Float32Array {
  const [single, code] = [new Float32Array(1), new Uint16Array(1)]
  for (let row = 0; row < values.length; row += columns) {
    let carried = 0
    for (let i = row; i < row + columns; i++) {
      const meant = values[i]! + carried
      single[0] = meant
      values[i] = bf16ToFloat32(float32ToBf16(single, code), single)[0]!
      carried = meant - values[i]!
    }
  }
  return values
}

const RULES: { readonly [name: string]: Rounding } = { nearest, stochastic, feedback }

const roundedBy =
  (rule: Rounding) =>
  (tensor: TensorSource): TensorSource => ({
    ...tensor,
    read: async () => rule(await tensor.read(), tensor.shape.at(-1)!),
  })

export async function run([path]: readonly string[]): Promise<void> {
  if (path === undefined) throw new Error("usage: npm run bench -- merge-rounding RUN")
  const folders = await modelFolders(path)
  for (const [name, rule] of Object.entries(RULES)) {
    const written = mkdtempSync(join(tmpdir(), "dftune-rounding-"))
    try {
      await withTensors({ ...folders, name: "rounded" }, undefined, async ({ model, tensors }) => {
        if (folders.base !== null) await copySideFiles(folders.base, written)
        await saveModel(written, {
          config: model.config,
          tensors: tensors.map(roundedBy(rule)),
          dtype: "float32",
          source: folders.folder,
        })
      })
      const effect = await adapterEffect(path, { written, writtenBase: undefined })
      console.log(name.padEnd(12), JSON.stringify(effect))
    } finally {
      rmSync(written, { recursive: true, force: true })
    }
  }
}

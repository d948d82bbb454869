import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import { exportModel } from "../../src/export/index.ts"
import { openCheckpoint } from "../../src/formats/index.ts"
import { loadModel } from "../../src/models/files/index.ts"
import { goldenModel, newFolder } from "./models.ts"

const PYTHON = process.env.DFTUNE_COMPRESSED_PYTHON ?? ""
const why = PYTHON === "" ? " (absent: DFTUNE_COMPRESSED_PYTHON, with compressed-tensors)" : ""

async function written(name: string, to: "int4" | "int8"): Promise<string> {
  const out = join(newFolder(), to)
  await exportModel(goldenModel(name), { to, out })
  return out
}

test.each([
  ["qwen2", "int4", 4],
  ["qwen2", "int8", 8],
  ["phi3", "int4", 4],
] as const)("%s as %s opens again, within half a step", async (name, to, bits) => {
  const out = await written(name, to)
  const [meant, read] = [await loadModel(goldenModel(name)), await loadModel(out)]
  expect(read.config.shape).toEqual(meant.config.shape)
  const { quantization } = read.config
  expect(quantization).toMatchObject({
    quant_method: "compressed-tensors",
    format: "pack-quantized",
    config_groups: { group_0: { weights: { num_bits: bits, symmetric: true } } },
  })
  for (const [tensor, values] of meant.weights) {
    const largest = Math.max(...values.map(Math.abs))
    const step = /proj\.weight$/.test(tensor) ? 1.02 / (2 ** bits - 1) + 2 ** -8 : 2 ** -8
    const off = Math.max(...read.weights.get(tensor)!.map((x, i) => Math.abs(x - values[i]!)))
    expect(off, tensor).toBeLessThanOrEqual(largest * step)
  }
})

test("a weight is three tensors, codes from 0 on with the first in the lowest bits", async () => {
  const out = await written("qwen2", "int4")
  const reader = await openCheckpoint(out)
  const module = "model.layers.0.self_attn.q_proj"
  const { shape } = reader.tensors.get(`${module}.weight_packed`)!
  const [rows, words] = shape as [number, number]
  const packed = new DataView((await reader.read(`${module}.weight_packed`)).slice().buffer)
  const scales = await reader.readFloat32(`${module}.weight_scale`)
  const { weights } = await loadModel(goldenModel("qwen2"))
  const weight = weights.get(`${module}.weight`)!
  const columns = weight.length / rows
  const group = columns / (scales.length / rows)
  for (const [row, column] of [
    [0, 0],
    [1, 1],
    [rows - 1, columns - 1],
  ] as const) {
    const word = packed.getUint32(4 * (row * words + Math.floor(column / 8)), true)
    const code = (word >>> (4 * (column % 8))) & 15
    const scale = scales[row * (columns / group) + Math.floor(column / group)]!
    expect(Math.abs((code - 8) * scale - weight[row * columns + column]!)).toBeLessThanOrEqual(
      0.52 * scale,
    )
  }
  await reader.close()
})

const LOGITS = `
import sys, torch
from transformers import AutoModelForCausalLM
a, b = (AutoModelForCausalLM.from_pretrained(x, dtype=torch.float32) for x in sys.argv[1:])
ids = torch.arange(3, 23)[None]
with torch.no_grad(): print((a(ids).logits - b(ids).logits).abs().max().item())
`

test.skipIf(PYTHON === "")(
  `Transformers with compressed-tensors computes with the same weights${why}`,
  async () => {
    const packed = await written("qwen2", "int4")
    const plain = join(newFolder(), "plain")
    await exportModel(packed, { to: "hf", out: plain, dtype: "float32" })
    const said = execFileSync(PYTHON, ["-c", LOGITS, packed, plain], { encoding: "utf8" })
    expect(JSON.parse(readFileSync(join(plain, "config.json"), "utf8"))).not.toHaveProperty(
      "quantization_config",
    )
    expect(Number(said.trim().split("\n").at(-1))).toBeLessThan(1e-4)
  },
  120_000,
)

import { readdirSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"
import { openSafetensors, type TensorReader } from "../../src/formats/index.ts"
import { isObject } from "../../src/formats/json.ts"
import { dequantized } from "../../src/models/files/quantized-checkpoint.ts"

const GOLDEN = fileURLToPath(new URL("../../golden/quantized/", import.meta.url))
const files = readdirSync(GOLDEN).filter((name) => name.endsWith(".safetensors"))

type Config = Record<string, unknown>

async function opened<T>(
  file: string,
  use: (reader: TensorReader, config: Config) => Promise<T>,
): Promise<T> {
  const reader = await openSafetensors(GOLDEN + file)
  try {
    return await use(reader, JSON.parse(reader.metadata.config!) as Config)
  } finally {
    await reader.close()
  }
}

/** The reader's only weight, of the shape of its values. */
const weightOf = (reader: TensorReader, config: Config) =>
  dequantized(
    reader,
    config,
    [{ name: "m.weight", shape: reader.tensors.get("values")!.shape }],
    "model",
  )

test.each(files)(
  "%s: values are those of the format's own arithmetic, bit for bit",
  async (file) => {
    await opened(file, async (reader, config) => {
      const meant = await reader.readFloat32("values")
      const read = weightOf(reader, config)
      const values = await read.readFloat32("m.weight")
      const bits = (x: Float32Array) => [...x].map((v) => (Object.is(v, -0) ? 0 : v))
      expect(bits(values)).toEqual(bits(meant))
      const columns = reader.tensors.get("values")!.shape[1]!
      const rows = new Float32Array(2 * columns)
      await read.readRows("m.weight", 0, rows)
      expect(rows).toEqual(values.slice(0, 2 * columns))
      const second = rows.subarray(columns)
      await read.readRows("m.weight", 1, second.fill(0))
      expect(second).toEqual(values.slice(columns, 2 * columns))
      expect([...read.tensors.keys()].sort()).toEqual(["m.weight", "values"])
    })
  },
)

test.each(files)("%s: a missing or misshapen part is named", async (file) => {
  await opened(file, async (reader, config) => {
    const parts = [...reader.tensors.keys()].filter(
      (name) => name.startsWith("m.") && !/g_idx|weight_shape/.test(name),
    )
    for (const part of parts) {
      const { [part]: _, ...rest } = Object.fromEntries(reader.tensors)
      const without = weightOf({ ...reader, tensors: new Map(Object.entries(rest)) }, config)
      const found = await without.readFloat32("m.weight").catch((error: unknown) => String(error))
      if (without.tensors.get("m.weight")?.dtype === "F32") expect(found).toContain(part)
      const bent = { ...reader.tensors.get(part)!, shape: [3, 5] }
      const misshapen = weightOf(
        { ...reader, tensors: new Map([...reader.tensors, [part, bent]]) },
        config,
      )
      if (/quant_state/.test(part)) continue
      await expect(misshapen.readFloat32("m.weight"), part).rejects.toThrow(/expected|columns/)
    }
  })
})

test.each<[string, Config, RegExp]>([
  ["gptq-4", { bits: 3 }, /expected "bits" to be 2 or 4 or 8, got 3/],
  ["gptq-4", { group_size: 0 }, /expected "group_size" above 0/],
  ["gptq-4", { checkpoint_format: "marlin" }, /expected "checkpoint_format" to be gptq or gptq_v2/],
  ["awq", { version: "gemv" }, /expected "version" to be gemm/],
  ["nf4", { bnb_4bit_quant_type: "fp4" }, /expected "bnb_4bit_quant_type" to be nf4/],
  ["fp8", { weight_block_size: [0, 1] }, /expected "weight_block_size" to be two sizes/],
  ["fp8", { quant_method: "aqlm" }, /expected "quant_method" to be one of gptq, awq/],
  ["compressed-pack-quantized-4", { format: "nvfp4-pack-quantized" }, /expected "format" to be/],
  ["compressed-pack-quantized-4", { config_groups: {} }, /expected one entry of "config_groups"/],
])("%s with %j is refused", async (name, change, message) => {
  await opened(`${name}.safetensors`, async (reader, config) => {
    const opening = async () => weightOf(reader, { ...config, ...change }).readFloat32("m.weight")
    await expect(opening()).rejects.toThrow(message)
    expect(isObject(config)).toBe(true)
  })
})

/** Files of a model folder: its weights and its configs. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { exportModel } from "../../src/export/index.ts"
import {
  openCheckpoint,
  openGguf,
  openSafetensors,
  writeCheckpoint,
} from "../../src/formats/index.ts"
import { expectObject, parseJson } from "../../src/formats/json.ts"
import {
  findModel,
  openWeights,
  readAdapter,
  readModelConfig,
} from "../../src/models/files/index.ts"
import { dequantized } from "../../src/models/files/quantized-checkpoint.ts"
import { loadTokenizer } from "../../src/text/index.ts"
import { tinyModel } from "../../test/train/tiny-model.ts"
import { mutatedBytes, mutatedJson, mutatedJsonFile } from "../mutate.ts"
import { copied, fileOf, golden, type Targets } from "./target.ts"

interface Tensors {
  readonly tensors: ReadonlyMap<string, { readonly dtype: string }>
  read(name: string): Promise<unknown>
  readFloat32(name: string): Promise<unknown>
  close(): Promise<void>
}

async function readAll(opening: Promise<Tensors>): Promise<void> {
  const reader = await opening
  try {
    for (const [name, { dtype }] of reader.tensors) {
      await reader.read(name)
      if (/^(F32|F16|BF16)$/.test(dtype)) await reader.readFloat32(name)
    }
  } finally {
    await reader.close()
  }
}

export const MODEL_FILES: Targets = {
  safetensors(work) {
    const base = readFileSync(golden("models/qwen3/model.safetensors"))
    const header = Number(base.readBigUInt64LE(0))
    const value: unknown = JSON.parse(base.subarray(8, 8 + header).toString("utf8"))
    const path = join(work, "m.safetensors")
    return (draw) => {
      let bytes = mutatedBytes(base, draw, header + 60)
      if (draw() < 0.6) {
        const json = Buffer.from(JSON.stringify(mutatedJson(value, draw)) ?? "null")
        const length = Buffer.alloc(8)
        length.writeBigUInt64LE(BigInt(json.length))
        bytes = Buffer.concat([length, json, base.subarray(8 + header)])
      }
      writeFileSync(path, bytes)
      return readAll(openSafetensors(path))
    }
  },
  "safetensors index"(work) {
    const folder = join(work, "shards")
    let base: Buffer | undefined
    return async (draw) => {
      base ??= await sharded(folder)
      const path = join(folder, "model.safetensors.index.json")
      writeFileSync(path, mutatedJsonFile(base, JSON.parse(base.toString("utf8")), draw))
      await readAll(openCheckpoint(folder))
    }
  },
  "config.json"(work) {
    const names = readdirSync(golden("models"), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name)
      .filter((name) => existsSync(golden(`models/${name}/model.safetensors`)))
    const targets = names.map((name) => {
      const folder = copied(golden(`models/${name}`), work, name)
      return fileOf(folder, "config.json", async () => {
        await readModelConfig(folder)
        const { close } = await openWeights(folder)
        await close()
      })
    })
    return (draw) => draw.of(targets)(draw)
  },
  quantized(work) {
    const names = readdirSync(golden("quantized"))
    return async (draw) => {
      const path = join(work, "q.safetensors")
      const base = readFileSync(golden(`quantized/${draw.of(names)}`))
      writeFileSync(path, mutatedBytes(base, draw, 1500))
      const reader = await openSafetensors(path)
      try {
        const config = expectObject(parseJson(reader.metadata.config ?? "{}", path), path)
        const parameters = [{ name: "m.weight", shape: [16, 128] }]
        const read = dequantized(reader, config, parameters, path)
        if (read.tensors.has("m.weight")) await read.readFloat32("m.weight")
      } finally {
        await reader.close()
      }
    }
  },
  "gguf model"(work) {
    const path = join(work, "model.gguf")
    process.env.DFTUNE_CACHE = join(work, "cache") // runs in a process of its own
    let base: Buffer | undefined
    return async (draw) => {
      base ??= await ggufBytes(work)
      writeFileSync(path, mutatedBytes(base, draw, 6000))
      const folder = await findModel(path)
      const read = await openWeights(folder)
      await loadTokenizer(folder)
      await read.close()
    }
  },
  gguf(work) {
    const path = join(work, "m.gguf")
    const bases = ["reference", "blocks"].map((name) => readFileSync(golden(`gguf/${name}.gguf`)))
    return async (draw) => {
      writeFileSync(path, mutatedBytes(draw.of(bases), draw, 4000))
      const reader = await openGguf(path)
      try {
        for (const name of reader.tensors.keys()) await reader.readFloat32(name)
      } finally {
        await reader.close()
      }
    }
  },
  adapter(work) {
    const folder = copied(golden("models/llama/adapter"), work, "a")
    const model = copied(golden("models/llama"), work, "base")
    const names = ["adapter_config.json", "adapter_model.safetensors"]
    const right = names.map((name) => [name, readFileSync(join(folder, name))] as const)
    const read = async () => {
      const { shape } = await readModelConfig(model)
      await readAdapter(folder, shape)
    }
    const [config, weights] = names.map((name) => fileOf(folder, name, read))
    return (draw) => {
      for (const [name, bytes] of right) writeFileSync(join(folder, name), bytes)
      return (draw() < 0.6 ? config : weights)!(draw)
    }
  },
}

/** Three shards and their index, which is given back. */
async function sharded(folder: string): Promise<Buffer> {
  const reader = await openCheckpoint(golden("models/qwen3"))
  mkdirSync(folder, { recursive: true })
  try {
    const tensors = await Promise.all(
      [...reader.tensors].map(async ([name, { dtype, shape }]) => ({
        name,
        dtype,
        shape,
        data: await reader.read(name),
      })),
    )
    const bytes = tensors.reduce((sum, { data }) => sum + data.byteLength, 0)
    await writeCheckpoint(folder, tensors, { maxShardBytes: Math.ceil(bytes / 3) })
  } finally {
    await reader.close()
  }
  return readFileSync(join(folder, "model.safetensors.index.json"))
}

/** The tiny model as a GGUF file. */
async function ggufBytes(work: string): Promise<Buffer> {
  const model = join(work, "for-gguf")
  mkdirSync(model, { recursive: true })
  const out = join(work, "as-gguf")
  const { files } = await exportModel(tinyModel(model), { to: "gguf", out, preTokenizer: "gpt-2" })
  return readFileSync(join(out, files[0]!.file))
}

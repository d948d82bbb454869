import { join } from "node:path"
import { assert } from "../errors.ts"
import { type GgufMetadata, openGguf, writeGguf } from "../formats/index.ts"
import { ggufAdapter, readModelConfig } from "../models/files/index.ts"
import { progressMeter } from "../report/progress.ts"
import type { ExportSource, Work, Written } from "./source.ts"
import { sourceAdapter } from "./source-adapter.ts"
import { verifyTensors } from "./verify.ts"

/** The adapter alone, as `llama-cli --lora` reads it beside a GGUF file of its base. */
export async function writeGgufAdapter(
  source: ExportSource,
  stage: string,
  { show }: Work,
): Promise<Written> {
  const { base, name } = source
  assert(base !== null, "writeGgufAdapter: a source without an adapter")
  const config = await readModelConfig(base)
  const { spec, tensors: values } = await sourceAdapter(source, config.shape)
  const { metadata, tensors } = ggufAdapter(config, { spec, values }, { where: base, name })
  const file = `${name.replace(/[^\w.-]+/g, "-")}-lora.gguf`
  const path = join(stage, file)
  const all: GgufMetadata = metadata
  await writeGguf(path, { metadata: all, tensors })
  const read = await openGguf(path)
  try {
    const pairs = tensors.map((tensor) => ({
      ...tensor,
      meant: tensor.values,
      written: () => read.readFloat32(tensor.name),
    }))
    const meter = progressMeter(`reading back ${file}`, { unit: "tensors" })
    const verified = await verifyTensors(pairs, source.folder, (done, of) => show(meter(done, of)))
    return {
      stored: "f32",
      verified,
      notes: ["llama.cpp adds it to a GGUF file of the base: --lora FILE"],
    }
  } finally {
    await read.close()
  }
}

import { join } from "node:path"
import { type GgufMetadata, type GgufValue, openGguf, writeGguf } from "../formats/index.ts"
import { ggufModel, ggufTensors } from "../models/files/index.ts"
import type { CheckpointDtype } from "../models/index.ts"
import { progressMeter } from "../report/progress.ts"
import { ggufTokenizer, loadTokenizer, stopTokenIds } from "../text/index.ts"
import { withTensors } from "./hugging-face.ts"
import { GGUF_TYPE_NAMES, type GgufTypeName } from "./names.ts"
import type { ExportSource, Work, Written } from "./source.ts"
import { roundedTensors } from "./stochastic-rounding.ts"
import { verifyTensors } from "./verify.ts"

/** What a checkpoint is stored in, by GGUF's names. */
export const GGUF_OF_DTYPE: { readonly [Dtype in CheckpointDtype]: GgufTypeName } = {
  float32: "f32",
  float16: "f16",
  bfloat16: "bf16",
}

export interface GgufOptions extends Work {
  /** What the checkpoint is stored in when left out. */
  readonly type?: GgufTypeName | undefined
  /** llama.cpp's name of the pre-tokenizer. */
  readonly preTokenizer?: string | undefined
}

/** Equal as a file can hold them: float32 numbers are compared as such. */
function sameValue(meant: GgufValue, read: GgufValue | undefined): boolean {
  if (read === undefined || read.kind !== meant.kind) return false
  if (meant.kind === "array") {
    const elements = read.value as readonly unknown[]
    return (
      elements.length === meant.value.length &&
      meant.value.every((value, i) => Object.is(value, elements[i]) || value === elements[i])
    )
  }
  return meant.kind === "float32"
    ? Math.fround(meant.value) === read.value
    : meant.value === read.value
}

function verifyMetadata(meant: GgufMetadata, read: GgufMetadata, where: string): void {
  const wrong = [...meant].find(([key, value]) => !sameValue(value, read.get(key)))
  if (wrong !== undefined)
    throw new Error(`${where}: "${wrong[0]}" reads back otherwise than written`)
}

/** `NAME-TYPE.gguf`, of characters that every file system takes. */
const fileName = (name: string, type: GgufTypeName): string =>
  `${name.replace(/[^\w.-]+/g, "-")}-${type}.gguf`

/** The whole model as one GGUF file, its adapter merged in where it has one. */
export async function writeGgufFile(
  source: ExportSource,
  stage: string,
  { type: asked, preTokenizer, rounding = "nearest", signal, show }: GgufOptions,
): Promise<Written & { readonly file: string }> {
  return withTensors(source, signal, async ({ model, tensors: exact }) => {
    const { config } = model
    const where = source.base ?? source.folder
    const typeName = asked ?? GGUF_OF_DTYPE[model.dtype]
    const sources = roundedTensors(exact, typeName, rounding)
    const type = GGUF_TYPE_NAMES[typeName]
    const { metadata, notes } = ggufModel(config, { where, name: source.name, type })
    show("writing the tokenizer")
    const stops = await stopTokenIds(where, await loadTokenizer(source.textFolder))
    const tokenizer = await ggufTokenizer(source.textFolder, {
      vocabSize: config.shape.vocabSize,
      stopTokenIds: [...stops],
      bosTokenId: config.bosTokenId,
      ...(preTokenizer === undefined ? {} : { preTokenizer }),
    })
    const all: GgufMetadata = new Map([...metadata, ...tokenizer.metadata])
    const tensors = ggufTensors(config, sources, type)
    const file = fileName(source.name, typeName)
    const path = join(stage, file)
    const writing = progressMeter(`writing ${file}`, { unit: "tensors" })
    await writeGguf(
      path,
      { metadata: all, tensors },
      { onTensor: (done, of) => show(writing(done, of)) },
    )
    const read = await openGguf(path)
    try {
      verifyMetadata(all, read.metadata, path)
      const pairs = tensors.map(({ name, shape, type, values }) => {
        const entry = read.tensors.get(name)
        if (entry?.type !== type || entry.shape.join() !== shape.join()) {
          throw new Error(
            `${path}: tensor "${name}" reads back as ${entry?.type} [${entry?.shape}]`,
          )
        }
        return { name, shape, type, written: () => read.readFloat32(name), meant: values }
      })
      const reading = progressMeter(`reading back ${file}`, { unit: "tensors" })
      const verified = await verifyTensors(pairs, source.folder, (done, of) =>
        show(reading(done, of)),
      )
      return { stored: typeName, verified, notes: [...notes, ...tokenizer.notes], file }
    } finally {
      await read.close()
    }
  })
}

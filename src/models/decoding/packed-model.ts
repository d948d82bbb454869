import { assert } from "../../errors.ts"
import type { Graph } from "../../graph/index.ts"
import { giveBack } from "../../host/give-back.ts"
import {
  type Device,
  type DeviceTensor,
  type Executable,
  float32,
  type HostTensor,
  int64,
  type MatrixRows,
} from "../../runtime/index.ts"
import { HEAD_WEIGHT, LANES, NORM_WEIGHT, packedBlocks, packedLogits } from "../block/cached.ts"
import { type LoraInputs, layerPlans } from "../block/layer-plan.ts"
import { adapterInputs } from "../block/packed.ts"
import {
  blockParameters,
  EMBEDDING,
  elementCount,
  FINAL_NORM,
  HEAD,
  headName,
  layerPrefix,
} from "../block/parameters.ts"
import { type EmbeddingRows, readEmbedding } from "../decoder/embedding-stage.ts"
import type { DecoderShape } from "../families/shape.ts"
import {
  cacheFeeds,
  type DecodingStages,
  type NewTokens,
  type PieceSizes,
  type PromptRows,
  takeCache,
} from "./decoding-stages.ts"

/** Consecutive blocks in one compiled graph. */
interface Section {
  readonly layers: readonly number[]
  readonly executable: Executable
}

type NamedShape = readonly [name: string, dims: readonly number[]]

interface PackedShapes {
  readonly shape: DecoderShape
  readonly lora?: LoraInputs | undefined
}

export interface PackOptions extends PackedShapes {
  readonly device: Device
  /**
   * A weight by the checkpoint's name, or an adapter's matrix by PEFT's name below each layer; may
   * use the memory given.
   */
  readonly weight: (name: string, into: Float32Array) => Float32Array | Promise<Float32Array>
  /** A reader of a matrix some rows at a time; undefined where it can only be read whole. */
  readonly rows?: (name: string) => MatrixRows["read"] | undefined
  /** The adapter's matrices are given at each run, to {@link PackedModel.under}. */
  readonly fedAdapter?: boolean
  /** A row of the embedding, into an array of its columns; asked for as long as the model lives. */
  readonly embeddingRow: EmbeddingRows
  readonly signal?: AbortSignal | undefined
}

/**
 * Products reach their full speed from about 400 rows on. ONNX Runtime's attention takes queries in
 * tiles; one of a single row goes another way than one of several, with other bits, so that a
 * prompt of an odd length would depend on how far it is filled up beside others.
 */
const PIECES: PieceSizes = { most: 512, step: 2, together: true }

/**
 * Weights that are packed at once: what is held three times for a moment, here, by ONNX Runtime and
 * packed. One layer at least.
 */
const SECTION_BYTES = 64 * 2 ** 20

/**
 * A model that only decodes: its graphs are compiled with the weights, which the products keep
 * packed. One row then costs no more than reading the weights once, and a lane has the same bits
 * whatever it is computed beside.
 */
export class PackedModel implements DecodingStages {
  readonly device: Device
  readonly shape: DecoderShape
  readonly pieces = PIECES
  readonly #embeddingRow: PackOptions["embeddingRow"]
  readonly #sections: readonly Section[]
  readonly #head: Executable
  /** What each run is given beside its rows. */
  readonly #fed: ReadonlyMap<string, DeviceTensor>

  private constructor(
    { device, shape, embeddingRow }: Pick<PackOptions, "device" | "shape" | "embeddingRow">,
    sections: readonly Section[],
    head: Executable,
    fed: ReadonlyMap<string, DeviceTensor> = new Map(),
  ) {
    this.device = device
    this.shape = shape
    this.#embeddingRow = embeddingRow
    this.#sections = sections
    this.#head = head
    this.#fed = fed
  }

  /** Asks for each weight once; beyond the packed ones only a section's are in memory at a time. */
  static async pack(options: PackOptions): Promise<PackedModel> {
    const { shape, signal } = options
    const head = await compiledHead(options)
    const sections: Section[] = []
    let memory: ArrayBuffer | undefined
    const held = options.fedAdapter ? { shape } : options
    const ofLayers = layerShapes(held).map((layer) => layer.map(([name]) => name))
    try {
      for (const layers of sectionLayers(shape)) {
        signal?.throwIfAborted()
        const traced = packedBlocks(options, layers)
        const names = layers.flatMap((layer) => ofLayers[layer]!)
        const bytes = readBytes(options, traced, names)
        if (!memory || memory.byteLength < bytes) memory = new ArrayBuffer(bytes)
        const own = Object.fromEntries(names.map((name) => [name, name]))
        sections.push({ layers, executable: await compiledWith(options, traced, own, memory) })
      }
    } catch (error) {
      await head.release()
      for (const { executable } of sections) await executable.release()
      throw error
    } finally {
      if (memory) giveBack(memory)
    }
    return new PackedModel(options, sections, head)
  }

  /**
   * This base under an adapter, by PEFT's names below each layer, as its matrices are at each run.
   * It belongs to this model, and releases nothing of its own.
   */
  under(adapter: ReadonlyMap<string, DeviceTensor>): PackedModel {
    const { device, shape } = this
    const parts = { device, shape, embeddingRow: this.#embeddingRow }
    return new PackedModel(parts, this.#sections, this.#head, adapter)
  }

  lanesFor(wanted: number): number {
    assert(wanted >= 1 && wanted <= LANES, `${wanted} lanes`)
    return wanted
  }

  async prompt(tokens: NewTokens, rows: PromptRows, signal?: AbortSignal): Promise<DeviceTensor> {
    return this.#blocks(tokens, rows, signal)
  }

  async step(tokens: NewTokens): Promise<DeviceTensor> {
    return this.#blocks(tokens, { size: 1, counts: Array.from(tokens.ids, () => 1) })
  }

  async logits(hidden: DeviceTensor, _lanes: number, into?: DeviceTensor): Promise<DeviceTensor> {
    const { logits } = await this.#head.run({ hidden }, into ? { into: { logits: into } } : {})
    hidden.dispose()
    return logits!
  }

  async release(): Promise<void> {
    await this.#head.release()
    for (const { executable } of this.#sections) await executable.release()
  }

  /** Hidden states [B, C] of each sequence's last new token. */
  async #blocks(
    { cache, ids, places }: NewTokens,
    { size, counts }: PromptRows,
    signal?: AbortSignal,
  ) {
    const C = this.shape.hiddenSize
    const tokens = [...ids.keys()].filter((row) => row % size < counts[Math.floor(row / size)]!)
    const embedded = await readEmbedding(this.#embeddingRow, { shape: this.shape, ids, tokens })
    let x = await this.device.upload(float32([ids.length, C], embedded))
    const lasts = counts.map((count, b) => b * size + count - 1)
    const wanted = await this.device.upload(int64([lasts.length], lasts))
    const fed = Object.fromEntries(this.#fed)
    for (const { layers, executable } of this.#sections) {
      signal?.throwIfAborted()
      const { feeds, into } = cacheFeeds(cache, layers)
      const results = await executable.run({ x, wanted, ...fed, ...places, ...feeds }, { into })
      takeCache(cache, layers, results)
      x.dispose()
      x = results.hidden!
    }
    return x
  }
}

/** Of the memory that weights are read into: one at a time where each is packed as it is read. */
function readBytes(
  { device, rows }: PackOptions,
  { inputs }: Graph,
  names: readonly string[],
): number {
  const isPackedAlone = device.products === "bf16"
  const bytes = inputs.flatMap(({ name, shape }) => {
    const isByRows = isPackedAlone && shape.length === 2 && rows?.(name) !== undefined
    return names.includes(name) && !isByRows ? [4 * elementCount(shape as number[])] : []
  })
  return isPackedAlone ? Math.max(0, ...bytes) : bytes.reduce((sum, each) => sum + each, 0)
}

/** A graph with some of its inputs, by the names of their weights, made constants. */
async function compiledWith(
  { device, weight, ...options }: PackOptions,
  traced: Graph,
  names: Readonly<Record<string, string>>,
  memory: ArrayBuffer,
): Promise<Executable> {
  if (device.products === "bf16") {
    return compiledAsRead({ device, weight, ...options }, traced, names, memory)
  }
  const constants: Record<string, HostTensor> = {}
  let offset = 0
  for (const { name, shape } of traced.inputs) {
    if (names[name] === undefined) continue
    const place = new Float32Array(memory, offset, elementCount(shape as number[]))
    offset += place.byteLength
    constants[name] = float32(shape as number[], await weight(names[name], place))
  }
  return device.compile(traced, { constants })
}

async function compiledHead(options: PackOptions): Promise<Executable> {
  const { shape } = options
  const traced = packedLogits(shape)
  const names: Readonly<Record<string, string>> = {
    [NORM_WEIGHT]: FINAL_NORM,
    [HEAD_WEIGHT]: headName(shape),
  }
  const read = { ...options, rows: (name: string) => options.rows?.(names[name] ?? name) }
  const memory = new ArrayBuffer(readBytes(read, traced, Object.keys(names)))
  const executable = await compiledWith(options, traced, names, memory)
  giveBack(memory) // as much as a quarter of a small model
  return executable
}

/**
 * The same where matrices are held as bfloat16: each is packed when it was read, into one place.
 */
function compiledAsRead(
  { device, weight, rows }: PackOptions,
  traced: Graph,
  names: Readonly<Record<string, string>>,
  memory: ArrayBuffer,
): Promise<Executable> {
  const constants: Record<string, () => Promise<HostTensor | MatrixRows>> = {}
  for (const { name, shape } of traced.inputs) {
    const own = names[name]
    if (own === undefined) continue
    const dims = shape as number[]
    constants[name] = async () => {
      const read = dims.length === 2 ? rows?.(own) : undefined
      if (read) return { shape: dims as [number, number], read }
      return float32(dims, await weight(own, new Float32Array(memory, 0, elementCount(dims))))
    }
  }
  return device.compile(traced, { constants })
}

/** All layers in order, cut so that a section holds about SECTION_BYTES. */
function sectionLayers(shape: DecoderShape): number[][] {
  const sections: number[][] = []
  let room = 0
  for (const [layer, kind] of shape.layers.entries()) {
    const parameters = blockParameters(shape, kind)
    const bytes = 4 * parameters.reduce((sum, { shape }) => sum + elementCount(shape), 0)
    if (room < bytes) {
      sections.push([])
      room = SECTION_BYTES
    }
    sections.at(-1)!.push(layer)
    room -= bytes
  }
  return sections
}

/** Names and shapes of each layer's weights, an adapter's included. */
function layerShapes({ shape, lora }: PackedShapes): NamedShape[][] {
  return layerPlans(shape, lora).map(({ kind, lora }, layer) => {
    const base = blockParameters(shape, kind).map(({ name, shape }) => [name, shape] as const)
    const adapter = adapterInputs({ shape, kind, lora })
    return [...base, ...adapter].map(([name, dims]) => [layerPrefix(layer) + name, dims])
  })
}

/** Names and shapes of all that decoding needs. */
export function decodingShapes(options: PackedShapes): NamedShape[] {
  const { hiddenSize: C, vocabSize: V, tieWordEmbeddings } = options.shape
  const head: NamedShape[] = tieWordEmbeddings ? [] : [[HEAD, [V, C]]]
  return [[EMBEDDING, [V, C]], ...layerShapes(options).flat(), [FINAL_NORM, [C]], ...head]
}

import { assert } from "../run/errors.ts"
import {
  type Device,
  type DeviceTensor,
  type Executable,
  float32,
  type HostTensor,
} from "../runtime/index.ts"
import type { LoraInputs } from "./block.ts"
import { HEAD_WEIGHT, LANES, NORM_WEIGHT, packedBlocks, packedLogits } from "./cached-block.ts"
import { EMBEDDING, FINAL_NORM, HEAD } from "./decoder.ts"
import {
  cacheFeeds,
  type DecodingStages,
  type NewTokens,
  type PieceSizes,
  takeCache,
} from "./decoding-stages.ts"
import { blockParameters, elementCount, layerPrefix } from "./parameters.ts"
import { RowOps } from "./rows.ts"
import type { DecoderShape } from "./shape.ts"
import { adapterShapes } from "./stages.ts"

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
  /** A weight by the checkpoint's name, or an adapter's matrix by PEFT's name below each layer. */
  readonly weight: (name: string) => Float32Array | Promise<Float32Array>
  readonly signal?: AbortSignal | undefined
}

/** Weights that are packed at once: what is held twice for a moment. */
const SECTION_BYTES = 128 * 2 ** 20

/**
 * A model that only decodes: its graphs are compiled with the weights, which the products keep
 * packed. One row then costs no more than reading the weights once, and a lane has the same bits
 * whatever it is computed beside.
 */
export class PackedModel implements DecodingStages {
  readonly device: Device
  readonly shape: DecoderShape
  readonly pieces: PieceSizes = { most: 512, step: 1 }
  readonly #rows: RowOps
  readonly #embedding: DeviceTensor
  readonly #sections: readonly Section[]
  readonly #head: Executable

  private constructor(
    { device, shape }: PackOptions,
    parts: { embedding: DeviceTensor; sections: readonly Section[]; head: Executable },
  ) {
    this.device = device
    this.shape = shape
    this.#rows = new RowOps(device)
    this.#embedding = parts.embedding
    this.#sections = parts.sections
    this.#head = parts.head
  }

  /** Asks for each weight once and lets go of it when it is packed; the embedding is kept as it is. */
  static async pack(options: PackOptions): Promise<PackedModel> {
    const { device, shape, weight, signal } = options
    const { hiddenSize: C, vocabSize: V } = shape
    const embedding = float32([V, C], await weight(EMBEDDING))
    const head = await device.compile(packedLogits(shape), {
      constants: {
        [NORM_WEIGHT]: float32([C], await weight(FINAL_NORM)),
        [HEAD_WEIGHT]: shape.tieWordEmbeddings ? embedding : float32([V, C], await weight(HEAD)),
      },
    })
    const sections: Section[] = []
    for (const layers of sectionLayers(shape)) {
      signal?.throwIfAborted()
      const constants: Record<string, HostTensor> = {}
      for (const [name, dims] of layers.flatMap((layer) => layerShapes(options, layer))) {
        constants[name] = float32(dims, await weight(name))
      }
      const executable = await device.compile(packedBlocks(options, layers), { constants })
      sections.push({ layers, executable })
    }
    return new PackedModel(options, { embedding: await device.upload(embedding), sections, head })
  }

  lanesFor(wanted: number): number {
    assert(wanted >= 1 && wanted <= LANES, `${wanted} lanes`)
    return wanted
  }

  async prompt(tokens: NewTokens, size: number, signal?: AbortSignal): Promise<DeviceTensor> {
    return this.#blocks(tokens, size, signal)
  }

  async step(tokens: NewTokens): Promise<DeviceTensor> {
    return this.#blocks(tokens, tokens.ids.length)
  }

  async logits(hidden: DeviceTensor, _lanes: number, into?: DeviceTensor): Promise<DeviceTensor> {
    const { logits } = await this.#head.run({ hidden }, into ? { into: { logits: into } } : {})
    hidden.dispose()
    return logits!
  }

  async release(): Promise<void> {
    this.#embedding.dispose()
    await this.#head.release()
    for (const { executable } of this.#sections) await executable.release()
  }

  async #blocks({ cache, ids, places }: NewTokens, rows: number, signal?: AbortSignal) {
    let x = await this.#rows.gather(this.#embedding, ids, rows)
    for (const { layers, executable } of this.#sections) {
      signal?.throwIfAborted()
      const { feeds, into } = cacheFeeds(cache, layers)
      const results = await executable.run({ x, ...places, ...feeds }, { into })
      takeCache(cache, layers, results)
      x.dispose()
      x = results.hidden!
    }
    return x
  }
}

/** All layers in order, cut so that a section holds about SECTION_BYTES. */
function sectionLayers(shape: DecoderShape): number[][] {
  const elements = blockParameters(shape).reduce((sum, { shape }) => sum + elementCount(shape), 0)
  const each = Math.max(1, Math.floor(SECTION_BYTES / (4 * elements)))
  const count = Math.ceil(shape.numHiddenLayers / each)
  return Array.from({ length: count }, (_, section) =>
    Array.from(
      { length: Math.min(each, shape.numHiddenLayers - section * each) },
      (_, i) => section * each + i,
    ),
  )
}

/** Names and shapes of a layer's weights, an adapter's included. */
function layerShapes({ shape, lora }: PackedShapes, layer: number): NamedShape[] {
  const prefix = layerPrefix(layer)
  const adapter = [...adapterShapes({ shape, lora, tokens: 1 })]
  const base = blockParameters(shape).map(({ name, shape }) => [name, shape] as const)
  return [...base, ...adapter].map(([name, dims]) => [prefix + name, dims])
}

/** Names and shapes of all that decoding needs. */
export function decodingShapes(options: PackedShapes): NamedShape[] {
  const { numHiddenLayers, hiddenSize: C, vocabSize: V, tieWordEmbeddings } = options.shape
  const layers = Array.from({ length: numHiddenLayers }, (_, layer) => layerShapes(options, layer))
  const head: NamedShape[] = tieWordEmbeddings ? [] : [[HEAD, [V, C]]]
  return [[EMBEDDING, [V, C]], ...layers.flat(), [FINAL_NORM, [C]], ...head]
}

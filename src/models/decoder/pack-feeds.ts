import { type Device, type DeviceTensor, disposeAll, float32, int64 } from "../../runtime/index.ts"
import { layerKinds } from "../block/parameters.ts"
import { RopeRows } from "../families/rope.ts"
import type { DecoderShape, LayerKind, Rope } from "../families/shape.ts"
import { keyBegins, type Pack, packLayout } from "./pack.ts"

type Tensors = Readonly<Record<string, DeviceTensor>>

/** What the blocks' graphs take of a pack beside the hidden states, for each kind of layers. */
export interface PackTensors {
  of(kind: LayerKind): Tensors
  dispose(): void
}

/** Makes {@link PackTensors}; rotary tables are kept from pack to pack. */
export class PackFeeds {
  readonly #device: Device
  readonly #kinds: readonly LayerKind[]
  readonly #ropes: ReadonlyMap<Rope, RopeRows>

  constructor(device: Device, shape: DecoderShape) {
    this.#device = device
    this.#kinds = layerKinds(shape)
    const ropes = this.#kinds.flatMap(({ rope }) => (rope ? [rope] : []))
    this.#ropes = new Map(ropes.map((rope) => [rope, new RopeRows(rope)]))
  }

  /** For a pack filled up to `tokens`. */
  async tensors(pack: Pack, tokens: number): Promise<PackTensors> {
    const layout = packLayout(pack, tokens)
    const ends = await this.#device.upload(int64([tokens], layout.ends))
    const isWindowed = this.#kinds.some(({ window }) => window !== undefined)
    const places = isWindowed && (await this.#device.upload(int64([tokens], layout.positionIds)))
    const turned = new Map<Rope, Tensors>()
    for (const [rope, rows] of this.#ropes) {
      const { cos, sin } = rows.at(layout.positionIds, layout.sequenceLengths)
      const dims = [tokens, rope.rotaryDim / 2]
      turned.set(rope, {
        cos: await this.#device.upload(float32(dims, cos)),
        sin: await this.#device.upload(float32(dims, sin)),
      })
    }
    const ofKind = new Map<string, Tensors>()
    for (const { name, rope, window } of this.#kinds) {
      const begins = keyBegins(layout, window)
      const key_begins = await this.#device.upload(int64([begins.length], begins))
      const windowed = window !== undefined && places && { places }
      ofKind.set(name, { ...(rope && turned.get(rope)), ends, key_begins, ...windowed })
    }
    return {
      of: ({ name }) => ofKind.get(name)!,
      dispose: () => disposeAll(...[...ofKind.values()].map(Object.values<DeviceTensor>)),
    }
  }
}

import { type Graph, type KeepLevel, workspaceBytes } from "../../graph/index.ts"
import type { Device, Executable } from "../../runtime/index.ts"
import { mostKeys } from "../block/attention.ts"
import { blockForward, blockGraphs } from "../block/block-graphs.ts"
import type { LayerPlan } from "../block/layer-plan.ts"
import { type BlockOptions, ROUTED, type WeightQuantization } from "../block/packed.ts"
import type { DecoderShape } from "../families/shape.ts"

export interface BlockExecutables {
  readonly forward: Executable
  readonly backward: Executable
  /** Outputs of `forward` that `backward` takes, by name. */
  readonly saved: readonly string[]
  /** Whether `backward` takes the block's input itself, not what is saved of it. */
  readonly needsInput: boolean
  /** Whether the layer's router says where it sends tokens. */
  readonly routes: boolean
}

/**
 * Sizes that stay compiled. One takes 40 ms to compile and 2 to 4 MB; intermediates are shared by
 * all.
 */
export const SIZES_KEPT = 16

type Compiled = Map<string, Promise<Executable | BlockExecutables>>

/** Bytes of the intermediates of a block's graph, at most. */
export function blockWorkspace(graph: Graph, tokens: number): number {
  return workspaceBytes(graph, (keys) => Math.min(tokens, mostKeys(keys)))
}

/**
 * Whether what a block leaves for its backward is bfloat16: products round most of it in any case
 * where they are, and it is half of the memory.
 */
export const narrowsKept = ({ products }: Pick<Device, "products">): boolean => products === "bf16"

/** The block without its adapter's updates. */
function withoutUpdates({ lora, ...options }: BlockOptions): BlockOptions {
  return { ...options, lora: lora && { ...lora, modules: new Map() } }
}

/** The blocks' graphs, one for all layers that are alike, for the pack sizes used last. */
export class CompiledBlocks {
  readonly #device: Device
  readonly #shape: DecoderShape
  readonly #quantization: WeightQuantization | undefined
  readonly #routers: boolean
  /** By pack size, the one used last at the end. */
  readonly #sizes = new Map<number, Compiled>()

  constructor(
    device: Device,
    options: {
      readonly shape: DecoderShape
      readonly quantization?: WeightQuantization | undefined
      /** Training asks routers where they send tokens. */
      readonly routers?: boolean
    },
  ) {
    this.#device = device
    this.#shape = options.shape
    this.#quantization = options.quantization
    this.#routers = options.routers ?? false
  }

  #options(tokens: number, { kind, lora, frozen }: LayerPlan): BlockOptions {
    return { shape: this.#shape, quantization: this.#quantization, tokens, kind, lora, frozen }
  }

  /** Says which size comes next, before it is asked for; the one unused longest is let go. */
  async use(tokens: number): Promise<void> {
    const compiled: Compiled = this.#sizes.get(tokens) ?? new Map()
    this.#sizes.delete(tokens)
    this.#sizes.set(tokens, compiled)
    for (const oldest of [...this.#sizes.keys()].slice(0, -SIZES_KEPT)) await this.#forget(oldest)
  }

  /** Forward that keeps, and backward. */
  training(tokens: number, plan: LayerPlan, level: KeepLevel): Promise<BlockExecutables> {
    return this.#once(tokens, `training ${level} ${plan.key}`, async () => {
      const narrows = narrowsKept(this.#device)
      const routers = this.#routers
      const graphs = blockGraphs(this.#options(tokens, plan), level, { narrows, routers })
      return {
        forward: await this.#device.compile(graphs.forward),
        backward: await this.#device.compile(graphs.backward),
        saved: graphs.saved,
        needsInput: graphs.backward.inputs.some(({ name }) => name === "x"),
        routes: graphs.forward.inputs.some(({ name }) => name === ROUTED.real),
      }
    })
  }

  /** Forward alone, with or without the adapter. */
  forward(tokens: number, plan: LayerPlan, adapter: boolean): Promise<Executable> {
    const options = this.#options(tokens, plan)
    const whole = [...(plan.lora?.whole ?? [])] // not held as codes, with and without the adapter
    return this.#once(tokens, `forward ${adapter ? plan.key : [plan.kind.name, ...whole]}`, () =>
      this.#device.compile(blockForward(adapter ? options : withoutUpdates(options))),
    )
  }

  async release(): Promise<void> {
    for (const tokens of [...this.#sizes.keys()]) await this.#forget(tokens)
  }

  async #forget(tokens: number): Promise<void> {
    const compiled = this.#sizes.get(tokens)!
    this.#sizes.delete(tokens)
    for (const made of compiled.values()) {
      const executables = await made
      if ("run" in executables) await executables.release()
      else await Promise.all([executables.forward.release(), executables.backward.release()])
    }
  }

  #once<T extends Executable | BlockExecutables>(
    tokens: number,
    key: string,
    make: () => Promise<T>,
  ): Promise<T> {
    const compiled = this.#sizes.get(tokens)!
    const known = compiled.get(key) as Promise<T> | undefined
    const made = known ?? make()
    compiled.set(key, made)
    return made
  }
}

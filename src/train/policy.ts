import { InputError } from "../errors.ts"
import type { TensorToWrite } from "../formats/index.ts"
import type { Decoder } from "../models/index.ts"
import {
  adamw8bit,
  type BlockKernel,
  type BlockMoments,
  createAdafactor,
  createAdamW,
  createLion,
  createMuon,
  createSquaredNorm,
  decays,
  type ElementwiseUpdate,
  isMuonMatrix,
  LEAST_ELEMENTS,
  type WholeState,
  type WholeUpdate,
  zeroMoments,
} from "../optim/index.ts"
import { type Device, type DeviceTensor, float32, type HostTensor } from "../runtime/index.ts"
import type { ParameterGroup } from "./parameter-groups.ts"
import { heldTensor, tensorToWrite } from "./tensor-to-write.ts"
import { WeightAverage } from "./weight-average.ts"

export interface OptimizerSettings {
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
  readonly weightDecay: number
  /** `adamw-8bit`: moments of tensors of 4,096 elements and more take a byte a number. */
  readonly optimizer?: "adamw" | "adamw-8bit" | "adafactor" | "lion" | "muon"
  readonly momentum?: number
  /** Of an average of the weights, beside them; left out: none is kept. */
  readonly averageDecay?: number | undefined
  /** What a tensor has otherwise. */
  readonly groupOf?: (name: string) => ParameterGroup
}

export interface UpdateOptions {
  /** From 1. */
  readonly step: number
  readonly learningRate: number
  /** What the accumulated gradients are multiplied with. */
  readonly gradientScale: number
}

interface Moments {
  readonly first: DeviceTensor
  /** Where the optimizer has one. */
  readonly second?: DeviceTensor
}

interface KeptMoments {
  readonly single: Map<string, Moments>
  readonly blocks: Map<string, BlockMoments>
  readonly states: Map<string, WholeState>
}

const KINDS = ["first", "second"] as const

/** What updates whole tensors, where the optimizer has such. */
async function wholeUpdate(
  device: Device,
  { optimizer, weightDecay, momentum = 0.95 }: OptimizerSettings,
): Promise<WholeUpdate | undefined> {
  if (optimizer === "adafactor") return createAdafactor(device, { weightDecay })
  return optimizer === "muon" ? createMuon(device, { weightDecay, momentum }) : undefined
}

/** A decoder that learns: its weights, their gradients, the optimizer's moments. */
export class Policy {
  readonly decoder: Decoder
  readonly #moments: Map<string, Moments>
  /** Of the tensors whose moments have eight bits. */
  readonly #blockMoments: Map<string, BlockMoments>
  readonly #settings: OptimizerSettings
  readonly #rule: ElementwiseUpdate<"first">
  readonly #whole: WholeUpdate | undefined
  /** Of the tensors that are updated whole. */
  readonly #states: Map<string, WholeState>
  readonly #average: WeightAverage | undefined
  readonly #squaredNorm: Awaited<ReturnType<typeof createSquaredNorm>>

  private constructor(
    decoder: Decoder,
    settings: OptimizerSettings,
    moments: KeptMoments,
    rule: ElementwiseUpdate<"first">,
    whole: WholeUpdate | undefined,
    squaredNorm: Awaited<ReturnType<typeof createSquaredNorm>>,
    average: WeightAverage | undefined,
  ) {
    this.#average = average
    this.decoder = decoder
    this.#settings = settings
    this.#moments = moments.single
    this.#states = moments.states
    this.#whole = whole
    this.#blockMoments = moments.blocks
    this.#rule = rule
    this.#squaredNorm = squaredNorm
  }

  /**
   * `state` holds a checkpoint's moments by name (`first.NAME`, `second.NAME`, those of eight bits
   * as `.codes` and `.scales` of that); zeros without.
   *
   * @throws InputError for moments of eight bits on a device that does not compute in host memory
   */
  static async open(
    decoder: Decoder,
    settings: OptimizerSettings,
    state: ReadonlyMap<string, HostTensor> = new Map(),
  ): Promise<Policy> {
    const { device } = decoder
    const isBlockwise = settings.optimizer === "adamw-8bit"
    if (isBlockwise && !device.sharesHostMemory) {
      throw new InputError(
        `optimizer: adamw-8bit is for the CPU, this is ${device.description}; set optimizer: adamw, or device: cpu`,
      )
    }
    const create = settings.optimizer === "lion" ? createLion : createAdamW
    const rule: ElementwiseUpdate<"first"> = await create(device, settings)
    const whole = await wholeUpdate(device, settings)
    const single = new Map<string, Moments>()
    const blocks = new Map<string, BlockMoments>()
    const states = new Map<string, WholeState>()
    for (const [name, { shape }] of decoder.gradients) {
      const elements = shape.reduce((product, dim) => product * dim, 1)
      if (whole && (settings.optimizer === "adafactor" || isMuonMatrix(name, shape))) {
        const kinds = Object.entries(whole.stateShapes(shape)).map(async ([kind, dims]) => {
          const saved = state.get(`${kind}.${name}`)
          return [kind, await device.upload(saved ?? float32(dims))] as const
        })
        states.set(name, Object.fromEntries(await Promise.all(kinds)))
        continue
      }
      if (isBlockwise && elements >= LEAST_ELEMENTS) {
        blocks.set(name, savedMoments(state, name) ?? zeroMoments(elements))
        continue
      }
      const upload = (kind: string) => device.upload(state.get(`${kind}.${name}`) ?? float32(shape))
      const first = await upload("first")
      const second = rule.moments.includes("second") && { second: await upload("second") }
      single.set(name, { first, ...second })
    }
    return new Policy(
      decoder,
      settings,
      { single, blocks, states },
      rule,
      whole,
      await createSquaredNorm(device),
      settings.averageDecay === undefined
        ? undefined
        : await WeightAverage.open(device, settings.averageDecay, state),
    )
  }

  /** Sum of squares of all accumulated gradients. */
  squaredGradientNorm(): Promise<number> {
    return this.#squaredNorm.of([...this.decoder.gradients.values()])
  }

  async update({ step, learningRate, gradientScale }: UpdateOptions): Promise<void> {
    const { weights, gradients } = this.decoder
    for (const [name, gradient] of gradients) {
      const group = this.#settings.groupOf?.(name)
      const at = {
        ...{ step, gradientScale, decay: decays(gradient.shape) },
        learningRate: learningRate * (group?.rate ?? 1),
        weightDecay: group?.weightDecay,
      }
      const state = this.#states.get(name)
      if (state) {
        const tensors = { parameter: weights.get(name)!, gradient, state }
        const updated = await this.#whole!.update(tensors, at)
        weights.set(name, updated.parameter)
        this.#states.set(name, updated.state)
        continue
      }
      const moments = this.#blockMoments.get(name)
      if (moments) {
        const parts = {
          parameter: weights.get(name)!.data as Float32Array,
          gradient: gradient.data as Float32Array,
          moments,
        }
        await adamw8bit(parts, this.#settings, at, blockKernel(this.decoder.device))
        continue
      }
      const { parameter, ...updated } = await this.#rule.update(
        { ...this.#moments.get(name)!, parameter: weights.get(name)!, gradient },
        at,
      )
      weights.set(name, parameter)
      this.#moments.set(name, updated)
    }
    await this.#average?.take(weights, gradients.keys())
  }

  /**
   * Puts the average of the weights, where one is kept, in their place; a second time the weights
   * themselves. Updates are for the weights.
   */
  exchangeAverage(): void {
    this.#average?.exchange(this.decoder.weights)
  }

  /**
   * The moments for a checkpoint: `first.NAME`, `second.NAME`, and averages, read from the device
   * when written.
   */
  momentTensors(): TensorToWrite[] {
    const whole = [...this.#moments, ...this.#states].flatMap(([name, own]) =>
      Object.entries(own).map(([kind, moment]) =>
        tensorToWrite(`${kind}.${name}`, moment, this.decoder.device),
      ),
    )
    const blocks = [...this.#blockMoments].flatMap(([name, moments]) =>
      KINDS.flatMap((kind) => {
        const { codes, scales } = moments[kind]
        return [
          { name: `${kind}.${name}.codes`, dtype: "U8", shape: [codes.length], data: codes },
          heldTensor(`${kind}.${name}.scales`, [scales.length], scales),
        ] as const
      }),
    )
    return [...whole, ...blocks, ...(this.#average?.tensors() ?? [])]
  }

  async release(): Promise<void> {
    await this.#rule.release()
    await this.#whole?.release()
    await this.#squaredNorm.release()
    await this.#average?.release()
    for (const own of [...this.#moments.values(), ...this.#states.values()]) {
      for (const moment of Object.values(own)) moment.dispose()
    }
    for (const own of [this.#moments, this.#states, this.#blockMoments]) own.clear()
    await this.decoder.release()
  }
}

function savedMoments(state: ReadonlyMap<string, HostTensor>, name: string) {
  const [first, second] = KINDS.map((kind) => {
    const codes = state.get(`${kind}.${name}.codes`)?.data
    const scales = state.get(`${kind}.${name}.scales`)?.data
    return codes instanceof Uint8Array && scales instanceof Float32Array
      ? { codes, scales }
      : undefined
  })
  return first && second && { first, second }
}

/** The device's own way to update blocks, where it has one. */
function blockKernel({ updates }: Device): BlockKernel | undefined {
  return (
    updates &&
    (({ parameter, gradient, moments: { first, second }, scalars, maps }) =>
      updates.adamw8(
        ...[parameter, gradient, first.codes, first.scales, second.codes, second.scales, scalars],
        ...[maps.signed, maps.unsigned].flatMap(({ values, middles, first }) => [
          ...[values, middles, first],
        ]),
      ))
  )
}

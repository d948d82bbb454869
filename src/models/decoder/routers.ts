import { type Device, type DeviceTensor, disposeAll, float32 } from "../../runtime/index.ts"
import { ROUTED } from "../block/packed.ts"

/** What the routers of some tokens said. */
export interface Routed {
  /** [E]: how often each expert was chosen, over tokens and layers. */
  readonly sent: Float64Array
  /** [E]: sum of each expert's probability, over the same. */
  readonly sums: Float64Array
  /** Tokens times layers with experts. */
  readonly decisions: number
}

const added = (a: Float64Array | undefined, b: ArrayLike<number>) =>
  Float64Array.from(b, (value, i) => value + (a?.[i] ?? 0))

/**
 * The auxiliary loss of routers to experts, as Transformers defines it (Switch Transformer, arXiv
 * 2101.03961, (4) to (6)). Over the T tokens of an optimizer step in L layers with E experts:
 *
 *     aux_loss = E sum_e f_e P_e,   f_e = tokens sent to e / (T L),   P_e = mean probability of e
 *
 * f has no gradient and P is a mean, so a step may be split in any way once f is known: of several
 * micro-batches a pass before counts it.
 */
export class RouterBalance {
  readonly #weight: number
  #counted: Omit<Routed, "sums"> | undefined
  #loss = 0

  /** `weight`: what the loss has in the summed gradients. */
  constructor(weight: number) {
    this.#weight = weight
  }

  /** Takes a micro-batch into f. */
  count({ sent, decisions }: Routed): void {
    const before = this.#counted
    this.#counted = {
      sent: added(before?.sent, sent),
      decisions: (before?.decisions ?? 0) + decisions,
    }
  }

  /**
   * [E]: d loss / d a micro-batch's summed probabilities, whose part of the loss is taken in. Where
   * nothing was counted, the micro-batch is the whole step.
   */
  gradient(routed: Routed): Float32Array {
    if (!this.#counted) this.count(routed)
    const { sent, decisions } = this.#counted!
    const slope = sent.map((count) => (sent.length * count) / Math.max(1, decisions) ** 2)
    routed.sums.forEach((sum, e) => {
      this.#loss += slope[e]! * sum
    })
    return Float32Array.from(slope, (value) => this.#weight * value)
  }

  /** Of the micro-batches whose gradient was asked for. */
  get loss(): number {
    return this.#loss
  }
}

/** f32 [tokens, 1]: 1 for the first `used`, 0 for what fills the pack up. */
export function realTokens(device: Device, used: number, tokens: number): Promise<DeviceTensor> {
  return device.upload(float32([tokens, 1], new Float32Array(tokens).fill(1, 0, used)))
}

/**
 * What a layer's backward is fed of a loss of its router: `slope` [E], by its summed probabilities.
 */
export async function routerFeeds(
  device: Device,
  real: DeviceTensor,
  slope: Float32Array,
): Promise<Readonly<Record<string, DeviceTensor>>> {
  const gradient = await device.upload(float32([slope.length], slope))
  return { [ROUTED.real]: real, [ROUTED.gradient]: gradient }
}

/** `before` and what a layer's router said of `tokens` tokens; its results are let go of. */
export async function withLayer(
  device: Device,
  before: Routed | undefined,
  results: Readonly<Record<string, DeviceTensor>>,
  tokens: number,
): Promise<Routed> {
  const [sent, sums] = [results[ROUTED.sent]!, results[ROUTED.sums]!]
  const numbers = async (x: DeviceTensor) => (await device.download(x)).data as Float32Array
  const after = {
    sent: added(before?.sent, await numbers(sent)),
    sums: added(before?.sums, await numbers(sums)),
    decisions: (before?.decisions ?? 0) + tokens,
  }
  disposeAll([sent, sums])
  return after
}

import { assert } from "../errors.ts"
import { randomStream } from "../random.ts"
import type { Manifest } from "./prepared.ts"

type Sources = Pick<Manifest, "sources">

interface EpochOptions {
  readonly manifest: Sources
  readonly seed: number
  /** From 0. */
  readonly epoch: number
}

/** Fisher and Yates, in place, from the end. */
function shuffle(values: Int32Array, random: () => number): Int32Array {
  for (let i = values.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    const swapped = values[i]!
    values[i] = values[j]!
    values[j] = swapped
  }
  return values
}

/** Rows that a source of `rows` rows and weight w gives an epoch: w times as many, rounded. */
function weightedRows({ rows, weight }: Manifest["sources"][number]): number {
  return Math.floor(weight) * rows + Math.round((weight - Math.floor(weight)) * rows)
}

/** Rows of one epoch, the same for every epoch. */
export function rowsPerEpoch({ sources }: Sources): number {
  return sources.reduce((total, source) => total + weightedRows(source), 0)
}

/**
 * The order of one epoch: global row indices, shuffled by (seed, epoch). A source of weight w
 * gives each row floor(w) times, and a share of w - floor(w) of its rows, chosen anew each epoch,
 * once more.
 */
export function epochOrder({ manifest, seed, epoch }: EpochOptions): Int32Array {
  const order = new Int32Array(rowsPerEpoch(manifest))
  let first = 0
  let at = 0
  for (const [index, source] of manifest.sources.entries()) {
    const rows = Int32Array.from({ length: source.rows }, (_, i) => first + i)
    for (let copy = 1; copy <= source.weight; copy++) {
      order.set(rows, at)
      at += rows.length
    }
    const once = weightedRows(source) - Math.floor(source.weight) * source.rows
    if (once > 0) {
      const chosen = shuffle(rows, randomStream(seed, `choice:${epoch}:${index}`)).subarray(0, once)
      order.set(chosen.sort(), at)
      at += once
    }
    first += source.rows
  }
  assert(at === order.length, `an epoch of ${order.length} rows was filled with ${at}`)
  return shuffle(order, randomStream(seed, `order:${epoch}`))
}

interface RunOrderOptions {
  readonly manifest: Sources
  readonly seed: number
  /** Rows per optimizer step. */
  readonly batchSize: number
  /** May be a fraction; at least one step is made. */
  readonly epochs: number | null
  /** In place of `epochs`. */
  readonly maxSteps: number | null
}

/** Which rows make which optimizer step, for a whole run. */
export interface RunOrder {
  readonly steps: number
  readonly rowsPerEpoch: number
  /** Rows of all steps together. */
  readonly rows: number
  /** Global row indices of a step, counted from 0; the last step may have fewer than the others. */
  stepRows(step: number): Int32Array
  /** Epochs done after `step` steps. */
  epochAt(step: number): number
}

/**
 * The running order is the epochs one after the other; step k (from 0) takes rows
 * k * batchSize .. (k + 1) * batchSize of it, across the end of an epoch too.
 */
export function runOrder({
  manifest,
  seed,
  batchSize,
  epochs,
  maxSteps,
}: RunOrderOptions): RunOrder {
  const perEpoch = rowsPerEpoch(manifest)
  assert(perEpoch > 0, "an order over no rows")
  assert((epochs === null) !== (maxSteps === null), "either epochs or steps")
  const rows =
    maxSteps !== null ? maxSteps * batchSize : Math.max(1, Math.round(epochs! * perEpoch))
  const steps = maxSteps ?? Math.ceil(rows / batchSize)
  const known = new Map<number, Int32Array>()
  const orderOf = (epoch: number): Int32Array => {
    const found = known.get(epoch)
    if (found !== undefined) return found
    if (known.size > 1) known.delete(Math.min(...known.keys()))
    const order = epochOrder({ manifest, seed, epoch })
    known.set(epoch, order)
    return order
  }
  return {
    steps,
    rowsPerEpoch: perEpoch,
    rows,
    stepRows(step) {
      assert(step >= 0 && step < steps, `step ${step} of ${steps}`)
      const from = step * batchSize
      const taken = new Int32Array(Math.min(batchSize, rows - from))
      for (let done = 0; done < taken.length; ) {
        const epoch = Math.floor((from + done) / perEpoch)
        const start = from + done - epoch * perEpoch
        const part = orderOf(epoch).subarray(start, start + taken.length - done)
        taken.set(part, done)
        done += part.length
      }
      return taken
    },
    epochAt: (step) => Math.min(rows, step * batchSize) / perEpoch,
  }
}

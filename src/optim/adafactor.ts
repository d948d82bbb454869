import { type Graph, graph, input, lift, type Tensor } from "../graph/index.ts"
import {
  CompiledGraphs,
  type Device,
  type DeviceTensor,
  disposeAll,
  float32,
} from "../runtime/index.ts"
import type { AdamWSettings } from "./adamw-graph.ts"
import { keptShare } from "./decays.ts"
import type { UpdateStep } from "./elementwise.ts"
import type { WholeState, WholeUpdate } from "./whole-update.ts"

export type AdafactorSettings = Pick<AdamWSettings, "weightDecay">

/**
 * The paper's: added to squares, how fast the second moment is forgotten, and what an update's size
 * is cut to.
 */
const EPSILON = 1e-30
const DECAY_POWER = -0.8
const MOST = 1

type Scalars = Readonly<Record<"keep" | "rate" | "gradientScale" | "kept" | "taken", number>>

/**
 * Adafactor (arXiv 1804.04235) as Transformers' Trainer sets it: no first moment, the learning rate
 * of the schedule. With G = s g, b = 1 - t^-0.8 and means over an axis,
 *
 *     R <- b R + (1 - b) mean_col(G^2 + e),   C <- b C + (1 - b) mean_row(G^2 + e)
 *     U = G / sqrt(R C / mean(R)),   p <- keep p - lr U / max(1, rms(U))
 *
 * and of vectors the second moment whole, V <- b V + (1 - b) (G^2 + e), U = G / sqrt(V).
 */
export async function createAdafactor(
  device: Device,
  { weightDecay }: AdafactorSettings,
): Promise<WholeUpdate> {
  const compiled = new CompiledGraphs(device)
  const scalarsOf = (at: UpdateStep): Scalars => {
    const { step, learningRate: rate, gradientScale } = at
    const kept = 1 - step ** DECAY_POWER
    return { keep: keptShare(at, { weightDecay }), rate, gradientScale, kept, taken: 1 - kept }
  }
  return {
    stateShapes: (shape): Readonly<Record<string, readonly number[]>> =>
      isFactored(shape) ? { rows: [shape[0]!], columns: [shape[1]!] } : { second: shape },
    async update({ parameter, gradient, state }, step) {
      const { shape } = parameter
      const executable = await compiled.once(`${shape}`, () => traced(shape))
      const scalars: Record<string, DeviceTensor> = {}
      for (const [name, value] of Object.entries(scalarsOf(step))) {
        scalars[name] = await device.upload(float32([], Float32Array.of(value)))
      }
      const feeds = { p: parameter, g: gradient, ...prefixed("old", state), ...scalars }
      const results = await executable.run(feeds, { into: { parameter } })
      disposeAll(Object.values(scalars), Object.values(state))
      const { parameter: updated, ...after } = results
      return { parameter: updated!, state: after }
    },
    release: () => compiled.release(),
  }
}

/** Matrices: two vectors stand for the second moment of each element. */
const isFactored = (shape: readonly number[]) => shape.length === 2

const prefixed = (prefix: string, state: WholeState) =>
  Object.fromEntries(Object.entries(state).map(([name, x]) => [`${prefix}.${name}`, x]))

function traced(shape: readonly number[]): Graph {
  const names = ["keep", "rate", "gradientScale", "kept", "taken"] as const
  const scalars = Object.fromEntries(names.map((name) => [name, input(name, [])]))
  const { keep, rate, gradientScale, kept, taken } = scalars as Record<keyof Scalars, Tensor>
  const gradient = input("g", shape).mul(gradientScale)
  const squares = gradient.mul(gradient).add(EPSILON)
  const blended = (name: string, now: Tensor) =>
    input(`old.${name}`, now.shape).mul(kept).add(now.mul(taken))
  const count = shape.reduce((product, dim) => product * dim, 1)
  const applied = (update: Tensor, state: Record<string, Tensor>) => {
    const axes = shape.map((_, axis) => axis)
    const rms = update
      .mul(update)
      .sum(axes)
      .mul(1 / count)
      .sqrt()
    const change = update.mul(rate.div(rms.div(MOST).max(1)))
    return graph("adafactor", { parameter: input("p", shape).mul(keep).sub(change), ...state })
  }
  if (!isFactored(shape)) {
    const second = blended("second", squares)
    return applied(gradient.div(second.sqrt()), { second })
  }
  const [m, n] = shape as [number, number]
  const rows = blended("rows", squares.sum(1).mul(1 / n)) // [m]
  const columns = blended("columns", squares.sum(0).mul(1 / m)) // [n]
  const mean = rows.sum(0).mul(1 / m)
  const byRow = lift(1).div(rows.div(mean).sqrt()).reshape([m, 1])
  const byColumn = lift(1).div(columns.sqrt()).reshape([1, n])
  return applied(gradient.mul(byRow).mul(byColumn), { rows, columns })
}

import { type Graph, graph, input, type Tensor } from "../graph/index.ts"
import {
  CompiledGraphs,
  type Device,
  type DeviceTensor,
  disposeAll,
  float32,
} from "../runtime/index.ts"
import type { AdamWSettings } from "./adamw-graph.ts"
import { keptShare } from "./decays.ts"
import type { WholeUpdate } from "./whole-update.ts"

export interface MuonSettings extends Pick<AdamWSettings, "weightDecay"> {
  readonly momentum: number
}

/** Of the Newton-Schulz iteration, and how often it is done (github.com/KellerJordan/Muon). */
const [A, B, C] = [3.4445, -4.775, 2.0315] as const
const ITERATIONS = 5
const EPSILON = 1e-7

/**
 * How far a matrix goes at a learning rate: its change is as large as AdamW's, so that both take
 * the same rate and decay (arXiv 2502.16982, equation 4).
 */
export const muonRate = ([m, n]: readonly number[]): number => 0.2 * Math.sqrt(Math.max(m!, n!))

/** Muon is for the matrices of the layers; what is looked up or has one dimension is AdamW's. */
export const isMuonMatrix = (name: string, shape: readonly number[]): boolean =>
  shape.length === 2 && /^model\.layers\./.test(name)

/**
 * Muon (torch.optim.Muon with Nesterov's momentum and `match_rms_adamw`), over matrices [m, n]:
 *
 *     M <- mu M + (1 - mu) s g,   O = orthogonal((1 - mu) s g + mu M),   p <- keep p - 0.2 sqrt(max(m, n)) lr O
 *
 * The products stay float32, where PyTorch's are bfloat16.
 */
export async function createMuon(
  device: Device,
  { momentum, weightDecay }: MuonSettings,
): Promise<WholeUpdate> {
  const compiled = new CompiledGraphs(device)
  const scalar = (value: number) => device.upload(float32([], Float32Array.of(value)))
  return {
    stateShapes: (shape) => ({ momentum: shape }),
    async update({ parameter, gradient, state }, step) {
      const { learningRate, gradientScale } = step
      const { shape } = parameter
      const blend = await compiled.once(`blend ${shape}`, () => blended(shape, momentum))
      const apply = await compiled.once(`apply ${shape}`, () => applied(shape, momentum))
      const scalars: Record<string, DeviceTensor> = {
        taken: await scalar((1 - momentum) * gradientScale),
        keep: await scalar(keptShare(step, { weightDecay })),
        rate: await scalar(learningRate * muonRate(shape)),
      }
      const before = state.momentum!
      const { after } = await blend.run(
        { before, g: gradient, ...scalars },
        { into: { after: before } },
      )
      const feeds = { p: parameter, g: gradient, m: after!, ...scalars }
      const results = await apply.run(feeds, { into: { parameter } })
      disposeAll(Object.values(scalars))
      return { parameter: results.parameter!, state: { momentum: after! } }
    },
    release: () => compiled.release(),
  }
}

function blended(shape: readonly number[], momentum: number): Graph {
  const taken = input("g", shape).mul(input("taken", []))
  return graph("muon_momentum", { after: input("before", shape).mul(momentum).add(taken) })
}

function applied(shape: readonly number[], momentum: number): Graph {
  const ahead = input("g", shape).mul(input("taken", [])).add(input("m", shape).mul(momentum))
  const change = orthogonal(ahead).mul(input("rate", []))
  return graph("muon", { parameter: input("p", shape).mul(input("keep", [])).sub(change) })
}

/** About U V^T of a matrix U S V^T: X <- a X + (b X X^T + c (X X^T)^2) X, from X / |X|. */
export function orthogonal(matrix: Tensor): Tensor {
  const [m, n] = matrix.shape as [number, number]
  const isTall = m > n
  const wide = isTall ? matrix.transpose([1, 0]) : matrix
  const norm = wide.mul(wide).sum([0, 1]).sqrt().max(EPSILON)
  let x = wide.div(norm)
  for (let i = 0; i < ITERATIONS; i++) {
    const gram = x.matmul(x, { transB: true, exact: true })
    const step = gram.mul(B).add(gram.matmul(gram, { exact: true, alpha: C }))
    x = x.mul(A).add(step.matmul(x, { exact: true }))
  }
  return isTall ? x.transpose([1, 0]) : x
}

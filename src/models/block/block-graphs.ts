import {
  type Graph,
  gradients,
  graph,
  input,
  type KeepLevel,
  partition,
  type Tensor,
} from "../../graph/index.ts"
import {
  adapterInputs,
  adapterShapes,
  type BlockOptions,
  blockWeights,
  packedBlock,
  packInputs,
  ROUTED,
} from "./packed.ts"

/** A decoder block as graphs: the same ones serve every layer like it, weights are inputs. */
export interface BlockGraphs {
  readonly forward: Graph
  readonly backward: Graph
  /** Outputs of `forward` that `backward` takes, by name. */
  readonly saved: readonly string[]
}

function traceBlock(options: BlockOptions) {
  const { shape, kind, tokens } = options
  const x = input("x", [tokens, shape.hiddenSize])
  const base = blockWeights(options)
  const inputs = new Map(
    [...adapterInputs(options)].map(([name, dims]) => [name, input(name, dims)]),
  )
  const weights = new Map([...base, ...inputs])
  const adapter = new Map(
    [...adapterShapes(options).keys()].map((name) => [name, inputs.get(name)!]),
  )
  return { x, base, adapter, y: packedBlock(x, weights, packInputs(kind, tokens), options) }
}

/** x [T, C] -> y [T, C]. */
export function blockForward(options: BlockOptions): Graph {
  return graph("block", { y: traceBlock(options).y })
}

/**
 * Forward with what the backward wants kept, and the backward: from `dy` to `dx` and, for each
 * trained weight, `grad.NAME` = `acc.NAME` + its gradient. No other gradient is computed.
 * `narrows`: what is kept is bfloat16, x too, which the backward then takes from `saved`.
 */
export function blockGraphs(
  options: BlockOptions,
  level: KeepLevel,
  {
    narrows = false,
    routers = false,
  }: { readonly narrows?: boolean; readonly routers?: boolean } = {},
): BlockGraphs {
  const router = routers ? askedRouter(options.tokens) : undefined
  const { x, base, adapter, y } = traceBlock({ ...options, ...router?.asks, training: true })
  const trained = trainedOf(options, base, adapter)
  const seeds = [{ output: y, gradient: input("dy", y.shape) }, ...(router?.seeds() ?? [])]
  const [dx, ...parts] = gradients(seeds, [x, ...trained.values()])
  const backward = { dx: dx! }
  for (const [i, name] of [...trained.keys()].entries()) {
    const part = parts[i]!
    Object.assign(backward, { [`grad.${name}`]: part.add(input(`acc.${name}`, part.shape)) })
  }
  const narrowed = narrows ? ["x"] : undefined
  const forward = { y, ...router?.results() }
  return partition("block", forward, backward, { level, narrowed })
}

/**
 * What a layer's router is asked while training: of the pack's real tokens how many are sent to
 * each expert, [E], and the sum of each expert's probability, [E], through which a loss of it goes
 * back.
 */
function askedRouter(tokens: number) {
  let found: { readonly sent: Tensor; readonly sums: Tensor } | undefined
  const routed = (p: Tensor, isChosen: Tensor) => {
    const real = input(ROUTED.real, [tokens, 1])
    const ofReal = (x: Tensor) => x.mul(real).sum(0)
    found = { sent: ofReal(isChosen.where(1, 0)), sums: ofReal(p) }
  }
  return {
    asks: { routed },
    results: () => found && { [ROUTED.sent]: found.sent, [ROUTED.sums]: found.sums },
    seeds: () =>
      found ? [{ output: found.sums, gradient: input(ROUTED.gradient, found.sums.shape) }] : [],
  }
}

/** The adapter's matrices and what trains whole beside it; without one all but the frozen. */
function trainedOf(
  { lora, frozen }: BlockOptions,
  base: ReadonlyMap<string, Tensor>,
  adapter: ReadonlyMap<string, Tensor>,
): ReadonlyMap<string, Tensor> {
  const trains = (name: string) => (lora ? lora.whole?.has(name) : !frozen?.has(name))
  return new Map([...adapter, ...[...base].filter(([name]) => trains(name))])
}

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
  { narrows = false }: { readonly narrows?: boolean } = {},
): BlockGraphs {
  const { x, base, adapter, y } = traceBlock({ ...options, training: true })
  const trained = trainedOf(options, base, adapter)
  const dy = input("dy", y.shape)
  const [dx, ...parts] = gradients([{ output: y, gradient: dy }], [x, ...trained.values()])
  const backward = { dx: dx! }
  for (const [i, name] of [...trained.keys()].entries()) {
    const part = parts[i]!
    Object.assign(backward, { [`grad.${name}`]: part.add(input(`acc.${name}`, part.shape)) })
  }
  const narrowed = narrows ? ["x"] : undefined
  return partition("block", { y }, backward, { level, narrowed })
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

/** What a device computed beside the float64 interpreter, which judges every device. */
import {
  type Graph,
  gradients,
  graph,
  input,
  type NdArray,
  ndarray,
  type Tensor,
} from "../../graph/index.ts"
import type { Device } from "../device.ts"
import { interpret } from "../reference.ts"
import { spread } from "./op-cases.ts"
import { fromDevice, toDevice } from "./transfer.ts"

/** The graph of `output`, and of its gradients given the input `dy`: `d.NAME` for each of `wrt`. */
export function traced(output: Tensor, wrt: readonly Tensor[]) {
  const dy = input("dy", output.shape)
  const found = gradients([{ output, gradient: dy }], wrt)
  const reached = wrt.flatMap((x, i) => (found[i] ? [[`d.${x.label}`, found[i]] as const] : []))
  return {
    forward: graph("forward", { y: output }),
    backward: graph("backward", Object.fromEntries(reached)),
    reached: reached.map(([name]) => name.slice(2)),
  }
}

/** Numbers to start reverse mode with, one per element of the output. */
export function seedFor(y: NdArray): NdArray {
  return ndarray(y.shape, spread(y.data.length, [-1, 1], 9))
}

/** The largest difference, beside the size of what was expected. */
export function difference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY
  let worst = 0
  for (let i = 0; i < expected.length; i++) {
    const [a, b] = [actual[i]!, expected[i]!]
    const apart = a === b ? 0 : Math.abs(a - b) / (1 + Math.abs(b))
    worst = Math.max(worst, Number.isNaN(apart) ? Number.POSITIVE_INFINITY : apart)
  }
  return worst
}

/**
 * What is wrong with a graph's outputs on a device, in words; undefined where each is within
 * `tolerance` of float64.
 */
export async function disagreement(
  device: Device,
  graph: Graph,
  feeds: Readonly<Record<string, NdArray>>,
  tolerance: number,
): Promise<string | undefined> {
  const expected = interpret(graph, feeds)
  const executable = await device.compile(graph)
  const found: string[] = []
  try {
    const results = await executable.run(await toDevice(device, graph, feeds))
    for (const { name, dtype } of graph.outputs) {
      const tensor = results[name]!
      const { shape, data } = expected[name]!
      if (tensor.dtype !== dtype) found.push(`${name} is ${tensor.dtype}, not ${dtype}`)
      else if (`${tensor.shape}` !== `${shape}`) {
        found.push(`${name} is [${tensor.shape}], not [${shape}]`)
      } else {
        const apart = difference(await fromDevice(device, tensor), data)
        if (!(apart < tolerance)) found.push(`${name} is ${apart.toPrecision(2)} apart`)
      }
      tensor.dispose()
    }
  } finally {
    await executable.release()
  }
  return found.length > 0 ? found.join(", ") : undefined
}

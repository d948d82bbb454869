import { InputError } from "../../errors.ts"
import { type Graph, graph, input, type Tensor } from "../../graph/index.ts"
import type { Session } from "./onnx-session.ts"
import { hostIntegers } from "./storage.ts"

/** ONNX Runtime's errors in the user's terms. */
export function explain(graph: Graph, error: unknown): Error {
  if (error instanceof InputError) return error
  const message = error instanceof Error ? error.message : String(error)
  if (/bad_alloc|Failed to allocate|out of memory|OutOfMemory/i.test(message)) {
    return new InputError(
      `out of memory while running ${graph.name}: lower micro_batch_tokens or set recompute: always ` +
        `(${message})`,
    )
  }
  return new Error(`${graph.name}: ${message}`, { cause: error })
}

/** ONNX Runtime where a session that may not use the CPU would need to. */
export const FALLBACK = /fallback to CPU EP has been explicitly disabled/

type CreateSession = (part: Graph, strict: boolean) => Promise<Session>

/**
 * A session of `graph` none of whose work runs on the CPU, or an error naming the op that would.
 * The sizes of slices are no such work: they are needed on the host before a kernel starts.
 * ONNX Runtime refuses a whole graph without saying why, so each kind of op is then tried alone;
 * `placed` remembers the answers by signature.
 */
export async function sessionWithoutFallback(
  graph: Graph,
  placed: Map<string, boolean>,
  create: CreateSession,
): Promise<Session> {
  try {
    return await create(graph, true)
  } catch (error) {
    if (!(error instanceof Error && FALLBACK.test(error.message))) throw error
  }
  const onHost = hostIntegers(graph)
  for (const node of graph.nodes) {
    if (node.op === "input" || node.op === "constant" || onHost.has(node)) continue
    const signature = signatureOf(node)
    const known = placed.get(signature) ?? (await isPlaced(node, create))
    placed.set(signature, known)
    if (!known) {
      const inputs = node.inputs.map((x) => `${x.label} ${x.dtype} [${x.shape}]`).join(", ")
      throw new Error(`${graph.name}: ${node.op}(${inputs}) has no kernel on this device`)
    }
  }
  return create(graph, false)
}

/** What the choice of a kernel depends on. */
function signatureOf({ op, inputs, dtype, attributes }: Tensor): string {
  const types = inputs.map((x) => `${x.op === "constant" ? "constant " : ""}${x.dtype}${x.rank}`)
  return `${op} ${types} ${dtype} ${JSON.stringify(attributes)}`
}

/** Whether an op alone, between an input and an output, has a kernel. */
async function isPlaced(node: Tensor, create: CreateSession): Promise<boolean> {
  const inputs = node.inputs.map((x, i) =>
    x.op === "constant" || x.op === "range" ? x : input(`x${i}`, x.shape, x.dtype),
  )
  try {
    const session = await create(graph(node.op, { y: node.withInputs(inputs) }), true)
    await session.release()
    return true
  } catch (error) {
    if (error instanceof Error && FALLBACK.test(error.message)) return false
    throw error
  }
}

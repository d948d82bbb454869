import { expect, test } from "vitest"
import { type Graph, graph, input } from "../../src/graph/index.ts"
import { explain, sessionWithoutFallback } from "../../src/runtime/onnx/onnx-errors.ts"

const REFUSED =
  "This session contains graph nodes that are assigned to the default CPU EP, " +
  "but fallback to CPU EP has been explicitly disabled by the user."
const session = { run: async () => ({}), release: async () => {} }

/** A provider without kernels for some ops: it refuses a graph as ONNX Runtime does. */
function without(ops: readonly string[]) {
  const tried: string[] = []
  const create = async ({ name, nodes }: Graph, strict: boolean) => {
    tried.push(name)
    if (strict && nodes.some((node) => ops.includes(node.op))) throw new Error(REFUSED)
    return session
  }
  return { tried, create }
}

const x = input("x", [4, 3])

test("an op without a kernel on the device is named, with its tensors", async () => {
  const { create } = without(["exp"])
  const traced = graph("block", { y: x.mul(2).exp().add(x) })
  await expect(sessionWithoutFallback(traced, new Map(), create)).rejects.toThrow(
    "block: exp(mul f32 [4,3]) has no kernel on this device",
  )
})

test("each kind of op is tried once, whatever graph it comes from", async () => {
  const { tried, create } = without(["exp"])
  const placed = new Map<string, boolean>()
  for (const name of ["a", "b"]) {
    const traced = graph(name, { y: x.mul(x).exp() })
    await expect(sessionWithoutFallback(traced, placed, create)).rejects.toThrow(name)
  }
  expect(tried).toEqual(["a", "mul", "exp", "b"])
})

test("what says how much to take may be computed on the host", async () => {
  const bounds = input("bounds", [3], "i64")
  const y = x.sliceBy(0, bounds.slice(0, 0, 1), bounds.slice(0, 1, 2), "n")
  const { create } = without(["slice"])
  expect(await sessionWithoutFallback(graph("g", { y }), new Map(), create)).toBe(session)
})

test("running out of memory says what to change", () => {
  const traced = graph("block", { y: x.exp() })
  const error = explain(traced, new Error("Failed to allocate memory for requested buffer"))
  expect(error.name).toBe("InputError")
  expect(error.message).toContain("out of memory while running block: lower micro_batch_tokens")
})

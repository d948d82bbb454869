import { expect, test } from "vitest"
import {
  composite,
  gradients,
  graph,
  input,
  KEEP_LEVELS,
  ndarray,
  partition,
  type Tensor,
} from "../../src/graph/index.ts"
import { difference, traced } from "../../src/runtime/conformance/judge.ts"
import { opCases, samples, spread, symbols } from "../../src/runtime/conformance/op-cases.ts"
import { interpret } from "../../src/runtime/index.ts"
import { finiteDifferences } from "./gradcheck.ts"

const real = (shape: readonly number[], seed: number) => {
  const length = shape.reduce((product, dim) => product * dim, 1)
  return ndarray(shape, spread(length, [-1, 1], seed))
}

test("a value used twice collects both gradients", () => {
  const x = input("x", [3])
  const y = x.exp().mul(x).add(x.sigmoid())
  const { forward, backward } = traced(y, [x])
  const feeds = { x: real([3], 1), dy: real([3], 2) }
  const { "d.x": dx } = interpret(backward, feeds)
  const expected = finiteDifferences(forward, feeds, "x", feeds.dy)
  expect(difference(dx!.data, expected)).toBeLessThan(1e-9)
})

test("detach: the value stays, the gradient of that path is gone", () => {
  const x = input("x", [3])
  const dy = input("dy", [3])
  const weighted = x.exp().detach().mul(x)
  const [dx] = gradients([{ output: weighted, gradient: dy }], [x])
  const feeds = { x: real([3], 1), dy: real([3], 2) }
  const result = interpret(graph("weighted", { dx: dx!, y: weighted }), feeds)
  feeds.x.data.forEach((v, i) => {
    expect(result.y!.data[i]).toBeCloseTo(v * Math.exp(v), 14)
    expect(result.dx!.data[i]).toBeCloseTo(feeds.dy.data[i]! * Math.exp(v), 14)
  })
  expect(gradients([{ output: x.detach(), gradient: dy }], [x])).toEqual([null])
})

test("several outputs, each with its own seed, and one that does not matter", () => {
  const [x, z] = [input("x", [2]), input("z", [2])]
  const [dy, dw] = [input("dy", [2]), input("dw", [2])]
  const seeds = [
    { output: x.mul(3), gradient: dy },
    { output: x.mul(x), gradient: dw },
    { output: z.exp(), gradient: dw },
  ]
  const [dx] = gradients(seeds, [x])
  const feeds = { x: ndarray([2], [1, 2]), dy: ndarray([2], [1, 10]), dw: ndarray([2], [1, 1]) }
  expect([...interpret(graph("g", { dx: dx! }), feeds).dx!.data]).toEqual([5, 34])
})

test("frozen inputs cost nothing: their gradients are not in the graph", () => {
  const [x, frozen, trained] = [input("x", [4, 3]), input("frozen", [5, 3]), input("w", [2, 5])]
  const h = x.matmul(frozen, { transB: true }).silu()
  const y = h.matmul(trained, { transB: true })
  const dy = input("dy", [4, 2])
  const products = (wrt: readonly Tensor[]) => {
    const found = gradients([{ output: y, gradient: dy }], wrt)
    const outputs = Object.fromEntries(found.map((d, i) => [`d${i}`, d!]))
    return graph("backward", outputs).nodes.filter((node) => node.op === "matmul").length
  }
  // The forward's h, and dw = dy^T h.
  expect(products([trained])).toBe(2)
  expect(products([trained, frozen])).toBe(4)
  expect(products([trained, frozen, x])).toBe(5)
})

/** A small network with everything that partitioning and simplifying look at. */
function network() {
  const x = input("x", [4, 6])
  const [w1, b1, w2] = [input("w1", [8, 6]), input("b1", [8]), input("w2", [6, 8])]
  const norm = input("norm", [6])
  const n = x.rmsNorm(norm, 1e-5)
  const h = n.matmul(w1, { transB: true }).add(b1).silu()
  const scores = h.matmul(h, { transB: true, alpha: 0.3 }).softmax()
  const y = x.add(scores.matmul(h).matmul(w2, { transB: true }))
  const wrt = [x, w1, b1, w2, norm]
  const dy = input("dy", [4, 6])
  const found = gradients([{ output: y, gradient: dy }], wrt)
  const backward = Object.fromEntries(wrt.map((each, i) => [`d.${each.label}`, found[i]!]))
  const feeds = Object.fromEntries(
    [...wrt, dy].map((each, i) => [each.label, real(each.shape as number[], i)]),
  )
  return { y, backward, feeds }
}

test.each(KEEP_LEVELS)("kept or computed again (%s): the same gradients", (level) => {
  const { y, backward, feeds } = network()
  const whole = interpret(graph("whole", { y, ...backward }), feeds)
  const parts = partition("net", { y }, backward, { level })
  const forward = interpret(parts.forward, feeds)
  expect(difference(forward.y!.data, whole.y!.data)).toBe(0)
  const saved = Object.fromEntries(parts.saved.map((name) => [name, forward[name]!]))
  const result = interpret(parts.backward, { ...feeds, ...saved })
  expect(parts.saved.length > 0).toBe(level !== "recompute")
  for (const name of Object.keys(backward)) {
    expect(difference(result[name]!.data, whole[name]!.data), name).toBeLessThan(1e-14)
  }
})

/** What crosses from the forward to the backward, by the type that it is kept as. */
function keptTypes(y: Tensor, wrt: readonly Tensor[], level: (typeof KEEP_LEVELS)[number]) {
  const found = gradients([{ output: y, gradient: input("dy", y.shape) }], wrt)
  const backward = Object.fromEntries(wrt.map((each, i) => [`d.${each.label}`, found[i]!]))
  const parts = partition("net", { y }, backward, { level, narrowed: ["x"] })
  const saved = parts.backward.inputs.filter(({ name }) => name.startsWith("saved."))
  return { parts, types: Object.fromEntries(saved.map(({ name, dtype }) => [name, dtype])) }
}

test.each(KEEP_LEVELS)(
  "kept as bfloat16 (%s): half the bytes, gradients to its rounding",
  (level) => {
    const { y, backward, feeds } = network()
    const whole = interpret(graph("whole", { y, ...backward }), feeds)
    const parts = partition("net", { y }, backward, { level, narrowed: ["x"] })
    const forward = interpret(parts.forward, feeds)
    expect(difference(forward.y!.data, whole.y!.data)).toBe(0)
    const saved = Object.fromEntries(parts.saved.map((name) => [name, forward[name]!]))
    const { x, ...others } = feeds
    expect(Object.keys(saved)).toContain("saved.x")
    expect(saved["saved.x"]!.data).not.toEqual(x!.data)
    const result = interpret(parts.backward, { ...others, ...saved })
    for (const name of Object.keys(backward)) {
      const error = difference(result[name]!.data, whole[name]!.data)
      expect(error, name).toBeLessThan(2e-2)
      expect(error, name).toBeGreaterThan(0)
    }
  },
)

test("probabilities, and what a comparison is made of, are kept as they are", () => {
  const x = input("x", [4, 6])
  const [router, w] = [input("router", [3, 6]), input("w", [6, 6])]
  const p = x.matmul(router, { transB: true }).softmax()
  const chosen = p.topK(2).slice(1, 1, 2).lessOrEqual(p).where(p, 0)
  const y = x
    .matmul(w, { transB: true })
    .silu()
    .mul(chosen.sum(1, { keepDims: true }))
  const kept = keptTypes(y, [x, router, w], "products").types
  // the router's logits, of which the backward chooses again; the other product
  expect(Object.values(kept).toSorted()).toEqual(["bf16", "bf16", "f32"])
  expect(kept["saved.x"]).toBe("bf16")
  expect(Object.values(keptTypes(y, [x, router, w], "keep").types)).toContain("f32")
  // recomputed from the input, so that one stays as well
  const { parts, types } = keptTypes(y, [x, router, w], "recompute")
  expect(types).toEqual({})
  expect(parts.backward.inputs.map(({ name }) => name)).toContain("x")
})

test("simplifying shares equal nodes and folds additions into products", () => {
  const [x, w, b] = [input("x", [4, 3]), input("w", [3, 5]), input("b", [5])]
  const y = x.matmul(w).add(b)
  const z = x.matmul(w).add(b).exp()
  const made = graph("g", { y, z })
  expect(made.nodes.filter((node) => node.op !== "input").map((node) => node.op)).toEqual([
    "gemm",
    "exp",
  ])
})

// The interpreter runs what simplify made; evaluating node by node without it must agree.
test.each(opCases)("simplifying keeps the value of $name", (opCase) => {
  const xs = symbols(opCase)
  const y = opCase.f(...xs)
  const hidden = composite(
    "hidden",
    [y],
    (x) => x!,
    () => [null],
  )
  const feeds = samples(opCase)
  const direct = interpret({ ...graph("g", { y }), nodes: inOrder(y), results: { y } }, feeds).y!
  expect(interpret(graph("g", { y: hidden }), feeds).y!.data).toEqual(direct.data)
})

function inOrder(root: Tensor, seen = new Set<Tensor>()): Tensor[] {
  if (seen.has(root)) return []
  seen.add(root)
  return [...root.inputs.flatMap((x) => inOrder(x, seen)), root]
}

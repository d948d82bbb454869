import { describe, expect, test } from "vitest"
import {
  concat,
  gradients,
  graph,
  input,
  KEEP_LEVELS,
  type NdArray,
  ndarray,
  partition,
  type Tensor,
  workspaceBytes,
} from "../../src/graph/index.ts"
import { attention, mostKeys, QUERY_CHUNK, tanh } from "../../src/models/block/attention.ts"
import type { AttentionOptions } from "../../src/models/block/parts.ts"
import { keyBegins, type Pack, packLayout } from "../../src/models/decoder/pack.ts"
import { difference } from "../../src/runtime/conformance/judge.ts"
import { spread } from "../../src/runtime/conformance/op-cases.ts"
import { interpret } from "../../src/runtime/index.ts"

const [K, G, D] = [2, 2, 3]
type Pieces = Pick<Pack, "lengths" | "follows">

/**
 * The textbook form over all T x T pairs, from plain ops: their gradients are checked one by one.
 */
function composed(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  mask: Tensor,
  { scale = 1 / Math.sqrt(D), softcap }: AttentionOptions,
): Tensor {
  const tokens = q.shape[2] as number
  const each = (x: Tensor) => x.reshape([K, 1, tokens, D])
  const products = q.matmul(each(k), { transB: true, alpha: scale })
  const scores = softcap ? tanh(products.div(softcap)).mul(softcap) : products
  return scores.add(mask).softmax().matmul(each(v))
}

/** Which sequences a token is of, and its place there: said once more, by walking. */
function walked({ lengths, follows }: Pieces, tokens: number) {
  const places: number[] = []
  const chains: number[][] = []
  lengths.forEach((length, piece) => {
    const after = follows?.[piece] ?? -1
    const before = after === -1 ? 0 : lengths[after]!
    for (let i = 0; i < length; i++) {
      places.push(before + i)
      chains.push(after === -1 ? [piece] : [after, piece])
    }
  })
  while (places.length < tokens) {
    chains.push([lengths.length + places.length])
    places.push(0)
  }
  return { places, chains }
}

function setting(pieces: Pieces, tokens: number, window?: number) {
  const pack = packLayout(pieces, tokens)
  const begins = keyBegins(pack, window)
  const { places, chains } = walked(pieces, tokens)
  const inputs = {
    q: input("q", [K, G, tokens, D]),
    k: input("k", [K, tokens, D]),
    v: input("v", [K, tokens, D]),
    dy: input("dy", [K, G, tokens, D]),
  }
  const real = (name: keyof typeof inputs, seed: number): NdArray => {
    const shape = inputs[name].shape as readonly number[]
    const size = shape.reduce((product, dim) => product * dim, 1)
    return ndarray(shape, spread(size, [-1.5, 1.5], seed))
  }
  const mask = new Float64Array(tokens * tokens).map((_, i) => {
    const [query, key] = [Math.floor(i / tokens), i % tokens]
    const near = window === undefined || places[query]! - places[key]! < window
    const seen = key <= query && near && chains[query]!.includes(chains[key]!.at(-1)!)
    return seen ? 0 : Number.NEGATIVE_INFINITY
  })
  return {
    ...inputs,
    mask: input("mask", [tokens, tokens]),
    layout: {
      ends: input("ends", [tokens], "i64"),
      keyBegins: input("key_begins", [begins.length], "i64"),
      window:
        window === undefined
          ? undefined
          : { size: window, places: input("places", [tokens], "i64") },
    },
    feeds: {
      q: real("q", 1),
      k: real("k", 2),
      v: real("v", 3),
      dy: real("dy", 4),
      mask: { shape: [tokens, tokens], data: mask },
      ends: ndarray([tokens], pack.ends),
      places: ndarray([tokens], pack.positionIds),
      key_begins: ndarray([begins.length], begins),
    },
  }
}

const packs: readonly (Pieces & {
  tokens: number
  window?: number
  options?: AttentionOptions
})[] = [
  { lengths: [5], tokens: 5 },
  { lengths: [128, 1, 30], tokens: 160 },
  { lengths: [3, 200, 90], tokens: 300 },
  { lengths: [3, 200, 90], tokens: 300, window: 7 },
  { lengths: [200, 5], tokens: 205, window: 140 },
  { lengths: [3, 290], tokens: 300, options: { chunksAtOnce: 1 } },
  { lengths: [20, 40], tokens: 60, options: { softcap: 0.7, scale: 0.9 } },
  { lengths: [7, 40, 90, 60, 5], follows: [-1, -1, 1, 1, -1], tokens: 208 },
  { lengths: [60, 90, 1, 120], follows: [-1, 0, 0, 0], tokens: 272, window: 50 },
  { lengths: [200, 90, 70], follows: [-1, 0, 0], tokens: 360, window: 130 },
]

const named = "a pack of $lengths after $follows in $tokens tokens, window $window, $options"
describe.each(packs)(named, ({ tokens, window, options = {}, ...pieces }) => {
  const { lengths, follows } = pieces
  const { q, k, v, dy, mask, layout, feeds } = setting(pieces, tokens, window)
  const wrt = [q, k, v]

  test("value and hand-written gradient equal the composed form's", () => {
    const results = [attention(q, k, v, layout, options), composed(q, k, v, mask, options)].map(
      (y) => {
        const found = gradients([{ output: y, gradient: dy }], wrt)
        const outputs = Object.fromEntries(wrt.map((x, i) => [`d.${x.label}`, found[i]!]))
        return interpret(graph("attention", { y, ...outputs }), feeds)
      },
    )
    for (const name of ["y", "d.q", "d.k", "d.v"]) {
      const [actual, expected] = results.map((result) => result[name]!)
      expect(actual!.shape).toEqual(expected!.shape)
      expect(difference(actual!.data, expected!.data), name).toBeLessThan(1e-12)
    }
  })

  test("whatever is kept, the gradients are the same", () => {
    const y = attention(q, k, v, layout, options)
    const found = gradients([{ output: y, gradient: dy }], wrt)
    const backward = Object.fromEntries(wrt.map((x, i) => [`d.${x.label}`, found[i]!]))
    const [first, ...others] = KEEP_LEVELS.map((level) => {
      const parts = partition("attention", { y }, backward, { level })
      expect(level === "recompute" ? parts.saved : [level]).toHaveLength(
        level === "recompute" ? 0 : 1,
      )
      const forward = interpret(parts.forward, feeds)
      return interpret(parts.backward, { ...feeds, ...forward })
    })
    for (const other of others) {
      for (const name of Object.keys(backward)) {
        expect(difference(other[name]!.data, first![name]!.data)).toBeLessThan(1e-14)
      }
    }
  })

  test("a token never attends outside its own sequence: packed equals separate", () => {
    const whole = interpret(graph("attention", { y: attention(q, k, v, layout, options) }), feeds)
      .y!
    const starts = lengths.map((_, i) => lengths.slice(0, i).reduce((sum, each) => sum + each, 0))
    for (const [piece, own] of lengths.entries()) {
      const after = follows?.[piece] ?? -1
      const beginning = after === -1 ? 0 : lengths[after]!
      const length = beginning + own
      const alone = setting({ lengths: [length] }, length, window)
      const cut = (x: NdArray, axis: number): NdArray => {
        const from = input("x", x.shape)
        const part = (i: number) => from.slice(axis, starts[i]!, starts[i]! + lengths[i]!)
        const y = after === -1 ? part(piece) : concat([part(after), part(piece)], axis)
        return interpret(graph("cut", { y }), { x }).y!
      }
      const parts = { q: cut(feeds.q, 2), k: cut(feeds.k, 1), v: cut(feeds.v, 1) }
      const y = attention(alone.q, alone.k, alone.v, alone.layout, options)
      const result = interpret(graph("attention", { y }), { ...alone.feeds, ...parts }).y!
      expect(difference(cut(whole, 2).data, result.data)).toBeLessThan(1e-13)
    }
  })
})

test("what attention holds on its way back grows with a row's length, not with its square", () => {
  const [short, long] = [2048, 4096].map((tokens) => {
    const q = input("q", [K, G, tokens, D])
    const [k, v] = ["k", "v"].map((name) => input(name, [K, tokens, D])) as [Tensor, Tensor]
    const layout = {
      ends: input("ends", [tokens], "i64"),
      keyBegins: input("key_begins", [Math.ceil(tokens / QUERY_CHUNK)], "i64"),
    }
    const y = attention(q, k, v, layout)
    const found = gradients([{ output: y, gradient: input("dy", q.shape) }], [q, k, v])
    const outputs = Object.fromEntries(found.map((x, i) => [`${i}`, x!]))
    return workspaceBytes(graph("back", outputs), (keys) => Math.min(tokens, mostKeys(keys)))
  })
  expect(long! / short!).toBeLessThan(2.2)
})

import { describe, expect, test } from "vitest"
import {
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
import { keyBegins, packLayout } from "../../src/models/decoder/pack.ts"
import { difference } from "../../src/runtime/conformance/judge.ts"
import { spread } from "../../src/runtime/conformance/op-cases.ts"
import { interpret } from "../../src/runtime/index.ts"

const [K, G, D] = [2, 2, 3]

/** The textbook form over all T x T pairs, from plain ops: their gradients are checked one by one. */
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

function setting(lengths: readonly number[], tokens: number, window?: number) {
  const pack = packLayout(lengths, tokens)
  const { segments } = pack
  const begins = keyBegins(pack, window)
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
    const near = window === undefined || query - key < window
    const seen = key <= query && near && segments[key] === segments[query]
    return seen ? 0 : Number.NEGATIVE_INFINITY
  })
  return {
    ...inputs,
    mask: input("mask", [tokens, tokens]),
    layout: {
      segments: input("segments", [tokens], "i64"),
      keyBegins: input("key_begins", [begins.length], "i64"),
      window,
    },
    feeds: {
      q: real("q", 1),
      k: real("k", 2),
      v: real("v", 3),
      dy: real("dy", 4),
      mask: { shape: [tokens, tokens], data: mask },
      segments: ndarray([tokens], segments),
      key_begins: ndarray([begins.length], begins),
    },
  }
}

const packs: readonly {
  lengths: readonly number[]
  tokens: number
  window?: number
  options?: AttentionOptions
}[] = [
  { lengths: [5], tokens: 5 },
  { lengths: [128, 1, 30], tokens: 160 },
  { lengths: [3, 200, 90], tokens: 300 },
  { lengths: [3, 200, 90], tokens: 300, window: 7 },
  { lengths: [200, 5], tokens: 205, window: 140 },
  { lengths: [3, 290], tokens: 300, options: { chunksAtOnce: 1 } },
  { lengths: [20, 40], tokens: 60, options: { softcap: 0.7, scale: 0.9 } },
]

const named = "a pack of $lengths in $tokens tokens, window $window, $options"
describe.each(packs)(named, ({ lengths, tokens, window, options = {} }) => {
  const { q, k, v, dy, mask, layout, feeds } = setting(lengths, tokens, window)
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
    let start = 0
    for (const length of lengths) {
      const alone = setting([length], length, window)
      const cut = (x: NdArray, axis: number): NdArray => {
        const y = input("x", x.shape).slice(axis, start, start + length)
        return interpret(graph("cut", { y }), { x }).y!
      }
      const parts = { q: cut(feeds.q, 2), k: cut(feeds.k, 1), v: cut(feeds.v, 1) }
      const y = attention(alone.q, alone.k, alone.v, alone.layout, options)
      const result = interpret(graph("attention", { y }), { ...alone.feeds, ...parts }).y!
      expect(difference(cut(whole, 2).data, result.data)).toBeLessThan(1e-13)
      start += length
    }
  })
})

test("what attention holds on its way back grows with a row's length, not with its square", () => {
  const [short, long] = [2048, 4096].map((tokens) => {
    const q = input("q", [K, G, tokens, D])
    const [k, v] = ["k", "v"].map((name) => input(name, [K, tokens, D])) as [Tensor, Tensor]
    const layout = {
      segments: input("segments", [tokens], "i64"),
      keyBegins: input("key_begins", [Math.ceil(tokens / QUERY_CHUNK)], "i64"),
    }
    const y = attention(q, k, v, layout)
    const found = gradients([{ output: y, gradient: input("dy", q.shape) }], [q, k, v])
    const outputs = Object.fromEntries(found.map((x, i) => [`${i}`, x!]))
    return workspaceBytes(graph("back", outputs), (keys) => Math.min(tokens, mostKeys(keys)))
  })
  expect(long! / short!).toBeLessThan(2.2)
})

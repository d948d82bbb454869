import { expect, test } from "vitest"
import { input, type NdArray, ndarray, type Tensor } from "../../src/graph/index.ts"
import { doraNames, rowSquares } from "../../src/models/block/dora.ts"
import { linearPart, loraNames } from "../../src/models/block/packed.ts"
import { mergeLora } from "../../src/models/index.ts"
import { difference, seedFor, traced } from "../../src/runtime/conformance/judge.ts"
import { spread } from "../../src/runtime/conformance/op-cases.ts"
import { interpret } from "../../src/runtime/index.ts"
import { finiteDifferences } from "../graph/gradcheck.ts"

const [R, IN, OUT, RANK, SCALE] = [3, 5, 4, 2, 1.7]
const names = { ...loraNames("q"), ...doraNames("q") }
const array = (shape: number[], range: [number, number], seed: number): NdArray =>
  ndarray(
    shape,
    spread(
      shape.reduce((a, b) => a * b),
      range,
      seed,
    ),
  )
const weight = array([OUT, IN], [-1, 1], 1)
const squares = rowSquares(Float32Array.from(weight.data), OUT)
const feeds: Record<string, NdArray> = {
  x: array([R, IN], [-1, 1], 2),
  "q.weight": weight,
  "q.bias": array([OUT], [-1, 1], 3),
  [names.a]: array([RANK, IN], [-1, 1], 4),
  [names.b]: array([OUT, RANK], [-1, 1], 5),
  [names.magnitude]: array([OUT], [0.5, 2], 6),
  [names.squares]: ndarray([OUT], Float64Array.from(squares)),
  dropout: array([R, IN], [0, 2], 7),
}
const inputs = new Map(
  Object.entries(feeds).map(([name, { shape }]) => [name, input(name, shape)] as const),
)
const lora = { modules: new Map([["q", { rank: RANK, scale: SCALE, dora: true }]]) }
const of = (name: string): Tensor => inputs.get(name)!

/** The same with the rows' lengths given: what the gradient takes them for. */
function withLengths(dropped: (x: Tensor) => Tensor, lengths: Tensor): Tensor {
  const d = dropped(of("x"))
  const base = (x: Tensor) => x.matmul(of("q.weight"), { transB: true })
  const gain = of(names.magnitude).div(lengths)
  const update = d.matmul(of(names.a), { transB: true }).matmul(of(names.b), { transB: true })
  const change = base(d).mul(gain.sub(1)).add(update.mul(SCALE).mul(gain))
  return base(of("x")).add(of("q.bias")).add(change)
}

const plain = (x: Tensor) => x
const masked = (x: Tensor) => x.mul(of("dropout"))
test.each([
  ["", plain],
  [" under dropout", masked],
])("value and gradients by finite differences, the lengths held%s", (_name, dropped) => {
  const y = linearPart(inputs, lora, undefined, dropped)(of("x"), "q")
  const trained = ["x", names.a, names.b, names.magnitude]
  const { forward, backward } = traced(y, trained.map(of))
  const value = interpret(forward, feeds).y!
  const dy = seedFor(value)
  const found = interpret(backward, { ...feeds, dy })

  const merged = Float64Array.from({ length: OUT }, (_, o) => {
    let sum = 0
    for (let i = 0; i < IN; i++) {
      let w = weight.data[o * IN + i]!
      for (let k = 0; k < RANK; k++) {
        w += SCALE * feeds[names.b]!.data[o * RANK + k]! * feeds[names.a]!.data[k * IN + i]!
      }
      sum += w * w
    }
    return Math.sqrt(sum)
  })
  const held = { ...feeds, lengths: ndarray([OUT], merged) }
  const direct = traced(withLengths(dropped, input("lengths", [OUT])), trained.map(of)).forward
  // the squared lengths of the base are float32
  expect(difference(value.data, interpret(direct, held).y!.data)).toBeLessThan(1e-6)
  for (const name of trained) {
    const expected = finiteDifferences(direct, held, name, dy)
    expect(difference(found[`d.${name}`]!.data, expected), name).toBeLessThan(1e-6)
  }
})

test("merged, each row is as long as its magnitude, and the product is the module's", () => {
  const f32 = (name: string) => Float32Array.from(feeds[name]!.data)
  const merged = f32("q.weight")
  const parts = { a: f32(names.a), b: f32(names.b), magnitude: f32(names.magnitude) }
  mergeLora(merged, parts, { rank: RANK, scale: SCALE })
  const lengths = rowSquares(merged, OUT).map(Math.sqrt)
  expect(difference(lengths, feeds[names.magnitude]!.data)).toBeLessThan(1e-6)
  const { forward } = traced(linearPart(inputs, lora)(of("x"), "q"), [of("x")])
  const { data } = interpret(forward, feeds).y!
  const x = feeds.x!.data
  const expected = Array.from(data, (_, at) => {
    const [row, o] = [Math.floor(at / OUT), at % OUT]
    let sum = feeds["q.bias"]!.data[o]!
    for (let i = 0; i < IN; i++) sum += x[row * IN + i]! * merged[o * IN + i]!
    return sum
  })
  expect(difference(data, expected)).toBeLessThan(1e-6)
})

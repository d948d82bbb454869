import * as ort from "onnxruntime-node"
import { afterAll, expect, test } from "vitest"
import { graph, input } from "../../src/graph/index.ts"
import { spread } from "../../src/runtime/conformance/op-cases.ts"
import { NativeSession } from "../../src/runtime/native/native-session.ts"
import { ownKernels } from "../../src/runtime/native/own-kernels.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { onnxModel } from "../../src/runtime/onnx/onnx-model.ts"

const device = await openDevice({ device: "cpu", threads: 2 })
afterAll(() => device.release())
const { bf16, exact, problem } = ownKernels()
if (bf16 === undefined) console.warn(`NOT TESTED: products of bfloat16: ${problem}`)
if (exact === undefined) console.warn("NOT TESTED: our own float32 products: no kernel here")

const numbers = (size: number, seed: number) => Float32Array.from(spread(size, [-1, 1], seed))

test.skipIf(exact === undefined).for([
  [256, 300, 256],
  [300, 513, 257],
  [896, 100, 640],
  [256, 64, 1100],
] as const)(
  "a gradient of a weight [%i, k %i, %i] has the bits of ONNX Runtime's own",
  async ([M, K, N]) => {
    const product = input("dy", ["k", M]).matmul(input("x", ["k", N]), { transA: true })
    const traced = graph("tall", { alone: product, added: product.add(input("acc", [M, N])) })
    const feeds = {
      dy: new ort.Tensor("float32", numbers(K * M, 1), [K, M]),
      x: new ort.Tensor("float32", numbers(K * N, 2), [K, N]),
      acc: new ort.Tensor("float32", numbers(M * N, 3), [M, N]),
    }
    const results = async (own: boolean) => {
      const model = onnxModel(traced, "cpu", own ? { own: { bf16: undefined, tall: true } } : {})
      const session = new NativeSession(model, 2, ort.Tensor)
      const { alone, added } = await session.run(feeds, { alone: null, added: null })
      await session.release()
      return [alone!.data, added!.data]
    }
    expect(await results(true)).toEqual(await results(false))
  },
)

test.skipIf(bf16 === undefined)("bfloat16 products are those of rounded factors", async () => {
  const [M, K, N] = [70, 333, 90]
  const fast = await openDevice({ device: "cpu", threads: 2, dtype: "bf16" })
  const product = input("x", [M, K]).matmul(input("w", [N, K]), { transB: true, alpha: 0.5 })
  const [x, w] = [numbers(M * K, 1), numbers(N * K, 2)]
  const run = async (on: typeof fast, x: Float32Array, w: Float32Array) => {
    const executable = await on.compile(graph("product", { y: product }))
    const { y } = await executable.run({
      x: await on.upload({ dtype: "f32", shape: [M, K], data: x }),
      w: await on.upload({ dtype: "f32", shape: [N, K], data: w }),
    })
    await executable.release()
    return y!.data as Float32Array
  }
  // A weight that is a bfloat16 number stays it; the other factor is rounded to nearest.
  const rounded = await run(device, x.map(toBf16), w.map(toBf16))
  const got = await run(fast, x, w.map(toBf16))
  for (const [i, value] of got.entries()) expect(Math.abs(value - rounded[i]!)).toBeLessThan(1e-4)
  expect(Math.abs(got[0]! - (await run(device, x, w))[0]!)).toBeGreaterThan(2e-4)
  await fast.release()
})

test.skipIf(bf16 === undefined)(
  "a change of weights that nearest rounding would lose is in their products",
  async () => {
    const [M, K, N] = [3, 4096, 40]
    const fast = await openDevice({ device: "cpu", threads: 2, dtype: "bf16" })
    const base = toBf16(0.02)
    // Of the way to the next bfloat16 number an eighth and 7 in 10.
    for (const change of [2 ** -16, 0.7 * 2 ** -13, -(2 ** -16)]) {
      expect(toBf16(base + change) === base).toBe(Math.abs(change) < 2 ** -14)
      const w = new Float32Array(N * K).fill(base + change)
      const ones = await fast.upload({
        dtype: "f32",
        shape: [M, K],
        data: new Float32Array(M * K).fill(1),
      })
      const turned = await fast.upload({
        dtype: "f32",
        shape: [M, N],
        data: new Float32Array(M * N).fill(1),
      })
      const matrix = { dtype: "f32", shape: [N, K], data: w } as const
      const weight = input("w", [N, K])
      const executable = await fast.compile(
        graph("weight", {
          forward: input("x", [M, K]).matmul(weight, { transB: true }),
          backward: input("dy", [M, N]).matmul(weight),
        }),
      )
      const feeds = { x: ones, dy: turned }
      const plain = await executable.run({ ...feeds, w: await fast.upload(matrix) })
      const packed = await executable.run({ ...feeds, w: await fast.uploadFactor(matrix) })
      // A frozen copy is the weight that trains, rounded alike, whichever way it is multiplied.
      for (const name of ["forward", "backward"])
        expect(packed[name]!.data).toEqual(plain[name]!.data)
      const sums = plain.forward!.data as Float32Array
      const mean = sums.reduce((all, sum) => all + sum, 0) / (M * N * K)
      expect(Math.abs(mean - base - change)).toBeLessThan(0.02 * Math.abs(change))
      await executable.release()
    }
    await fast.release()
  },
)

test.skipIf(bf16 === undefined)(
  "numbers are rounded and widened as they are one by one",
  async () => {
    const odd = [0, -0, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 3.3e38, Infinity, -Infinity, NaN, 1e-40]
    const x = Float32Array.from([...odd, ...numbers(300_000, 1)]) // more than one thread's piece
    const fast = await openDevice({ device: "cpu", threads: 2, dtype: "bf16" })
    const kept = input("x", ["n"]).cast("bf16")
    const executable = await fast.compile(graph("kept", { kept, again: kept.cast("f32") }))
    const fed = await fast.upload({ dtype: "f32", shape: [x.length], data: x })
    const results = await executable.run({ x: fed })
    const again = results.again!.data as Float32Array
    expect(again).toEqual(x.map((value) => (Number.isNaN(value) ? value : toBf16(value))))
    const bits = new Uint32Array(again.buffer, again.byteOffset, again.length)
    expect(results.kept!.data).toEqual(Uint16Array.from(bits, (value) => value >>> 16))
    await executable.release()
    await fast.release()
  },
)

/** Round to nearest, ties to even. */
function toBf16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)
  bits[0] = (bits[0]! + 0x7fff + ((bits[0]! >> 16) & 1)) & 0xffff0000
  return new Float32Array(bits.buffer)[0]!
}

import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { graph, input } from "../../src/graph/index.ts"
import { spread } from "../../src/runtime/conformance/op-cases.ts"
import { fromDevice } from "../../src/runtime/conformance/transfer.ts"
import { type Device, type DeviceTensor, float32, int64 } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { DEVICES, deviceOrSay } from "./devices.ts"

const real = (shape: readonly number[], seed: number) => {
  const length = shape.reduce((product, dim) => product * dim, 1)
  return float32(shape, Float32Array.from(spread(length, [-1, 1], seed)))
}
const megabytes = () => process.memoryUsage().rss / 2 ** 20

describe.each(DEVICES)("$name", ({ name }) => {
  let device: Device | undefined
  beforeAll(async () => {
    device = await deviceOrSay(name)
  })
  afterAll(() => device?.release())

  test("what was uploaded comes back, whole numbers too", async ({ skip }) => {
    if (!device) return skip(`no ${name} here`)
    const numbers = await device.upload(real([3, 5], 1))
    expect(await fromDevice(device, numbers)).toEqual([...real([3, 5], 1).data].map(Number))
    const ids = await device.upload(int64([3], [5, -1, 2 ** 31 - 1]))
    expect((await device.download(ids)).data).toEqual(BigInt64Array.of(5n, -1n, 2n ** 31n - 1n))
  })

  test("an accumulator that is its own output holds the sum of all products", async ({ skip }) => {
    if (!device) return skip(`no ${name} here`)
    const [a, b, acc] = [input("a", [7, 4]), input("b", [7, 5]), input("acc", [4, 5])]
    const sum = graph("sum", { next: a.matmul(b, { transA: true }).add(acc) })
    const executable = await device.compile(sum)
    let total = await device.upload(float32([4, 5]))
    const expected = new Float64Array(20)
    for (let step = 0; step < 5; step++) {
      const [left, right] = [real([7, 4], step), real([7, 5], step + 9)]
      const feeds = { a: await device.upload(left), b: await device.upload(right), acc: total }
      total = (await executable.run(feeds, { into: { next: total } })).next!
      for (let i = 0; i < 20; i++) {
        for (let k = 0; k < 7; k++) {
          const [row, column] = [Math.floor(i / 5), i % 5]
          expected[i]! += Number(left.data[k * 4 + row]) * Number(right.data[k * 5 + column])
        }
      }
    }
    const result = await fromDevice(device, total)
    for (const [i, value] of expected.entries()) expect(result[i]).toBeCloseTo(value, 5)
    await executable.release()
  })

  test("runs of growing size share the memory of the largest", async ({ skip }) => {
    if (!device?.sharesHostMemory) return skip(`no ${name} here, or its memory is not the host's`)
    // Two intermediates of the input's size; only their sum is a result.
    const x = input("x", ["rows", 1])
    const wide = x.mul(input("w", [1, 40_000]))
    const total = graph("wide", { y: wide.softmax().mul(wide.exp()).sum(-1) })
    const executable = await device.compile(total)
    const w = await device.upload(real([1, 40_000], 1))
    const before = megabytes()
    for (const rows of [100, 130, 170, 220, 280, 350]) {
      await executable.run({ x: await device.upload(real([rows, 1], 2)), w })
    }
    const largest = (350 * 40_000 * 4) / 2 ** 20
    expect(megabytes() - before).toBeLessThan(4 * largest)
    await executable.release()
  })

  // 200 results of 4 MB would be 800 MB.
  test.for(["fresh results", "into two buffers", "into itself"] as const)(
    "memory does not grow over 200 runs: %s",
    async (mode, { skip }) => {
      if (!device) return skip(`no ${name} here`)
      const shape = [1024, 1024]
      const x = input("x", shape)
      const executable = await device.compile(graph("halve", { y: x.mul(0.5).add(1) }))
      let now = await device.upload(real(shape, 1))
      let spare: DeviceTensor | undefined
      const run = async () => {
        if (mode === "into itself") {
          now = (await executable.run({ x: now }, { into: { y: now } })).y!
          return
        }
        const into = mode === "into two buffers" && spare ? { y: spare } : {}
        const { y } = await executable.run({ x: now }, { into })
        if (mode === "fresh results") now.dispose()
        else spare = device!.sharesHostMemory ? now : undefined
        if (!device!.sharesHostMemory && mode === "into two buffers") now.dispose()
        now = y!
      }
      for (let i = 0; i < 20; i++) await run()
      const before = megabytes()
      for (let i = 0; i < 200; i++) await run()
      expect(megabytes() - before).toBeLessThan(150)
      expect((await fromDevice(device, now))[7]).toBeCloseTo(2, 5)
      now.dispose()
      await executable.release()
    },
  )

  test("the same feeds give the same bits", async ({ skip }) => {
    if (!device) return skip(`no ${name} here`)
    const [x, w] = [input("x", [33, 70]), input("w", [50, 70])]
    const y = x.matmul(w, { transB: true }).softmax()
    const executable = await device.compile(graph("bits", { y }))
    const feeds = {
      x: await device.upload(real([33, 70], 1)),
      w: await device.upload(real([50, 70], 2)),
    }
    const first = await fromDevice(device, (await executable.run(feeds)).y!)
    for (let i = 0; i < 5; i++) {
      expect(await fromDevice(device, (await executable.run(feeds)).y!)).toEqual(first)
    }
    await executable.release()
  })

  test("feeds that do not fit are named, with what was expected and what came", async ({
    skip,
  }) => {
    if (!device) return skip(`no ${name} here`)
    const x = input("x", [2, 3])
    const executable = await device.compile(graph("double", { y: x.add(x) }))
    await expect(executable.run({})).rejects.toThrow("double: the input x was not given")
    const wrong = await device.upload(float32([3, 2]))
    await expect(executable.run({ x: wrong })).rejects.toThrow(
      "double: the input x must be f32 [2,3], got f32 [3,2]",
    )
    const ids = await device.upload(int64([2], [0, 1]))
    await expect(executable.run({ x: ids })).rejects.toThrow("got i64 [2]")
    await executable.release()
  })

  test("a run that was aborted does not start", async ({ skip }) => {
    if (!device) return skip(`no ${name} here`)
    const x = input("x", [2])
    const executable = await device.compile(graph("double", { y: x.add(x) }))
    const feeds = { x: await device.upload(float32([2])) }
    const abort = new AbortController()
    await executable.run(feeds, { signal: abort.signal })
    abort.abort()
    await expect(executable.run(feeds, { signal: abort.signal })).rejects.toThrow(/abort/i)
    await executable.release()
  })
})

test("a number of threads that makes no sense", async () => {
  await expect(openDevice({ threads: 0 })).rejects.toThrow('threads: expected "auto" or a whole')
})

describe("an output written over an input", () => {
  const [x, z] = [input("x", [4, 4]), input("z", [4, 4])]
  const cases = [
    ["is read later by another output", { y: x.mul(2), w: x.exp() }, "exp reads it afterwards"],
    [
      "is read later as another view",
      { y: x.reshape([16]).mul(2).reshape([4, 4]), w: x.exp() },
      "exp reads",
    ],
    ["is a factor of the product", { y: x.matmul(z).add(z) }, "gemm cannot work in place"],
    ["has another shape than the result", { y: x.slice(0, 0, 1).add(z) }, undefined],
    ["is the sum of a product", { y: z.matmul(z).add(x) }, undefined],
    ["is only read before", { y: x.exp().mul(x) }, undefined],
  ] as const
  test.each(cases)("%s", async (_name, outputs, problem) => {
    const device = await openDevice({ device: "cpu", threads: 1 })
    const executable = await device.compile(graph("g", outputs))
    const tensors = {
      x: await device.upload(real([4, 4], 1)),
      z: await device.upload(real([4, 4], 2)),
    }
    const feeds = Object.fromEntries(
      executable.graph.inputs.map(({ name }) => [name, tensors[name as "x" | "z"]]),
    )
    const clean = await fromDevice(device, (await executable.run(feeds)).y!)
    const run = executable.run(feeds, { into: { y: tensors.x } })
    if (problem) await expect(run).rejects.toThrow(`y into its input x: ${problem}`)
    else expect(await fromDevice(device, (await run).y!)).toEqual(clean)
    await executable.release()
    await device.release()
  })
})

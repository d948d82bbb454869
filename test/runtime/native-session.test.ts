import { readFileSync } from "node:fs"
import { afterAll, expect, test } from "vitest"
import { graph, input } from "../../src/graph/index.ts"
import { float32, int64 } from "../../src/runtime/index.ts"
import { onHugePages } from "../../src/runtime/native/c-library.ts"
import { openDevice } from "../../src/runtime/node.ts"

const device = await openDevice({ device: "cpu", threads: 2 })
afterAll(() => device.release())

test("short runs, one after the other, leave timers their turns", async () => {
  const twice = await device.compile(graph("twice", { y: input("x", ["n"]).mul(2) }))
  const x = await device.upload(float32([4], Float32Array.of(1, 2, 3, 4)))
  let ticks = 0
  const timer = setInterval(() => ticks++, 1)
  const until = performance.now() + 200
  while (performance.now() < until) {
    const { y } = await twice.run({ x })
    expect([...y!.data!]).toEqual([2, 4, 6, 8])
  }
  clearInterval(timer)
  expect(ticks).toBeGreaterThan(0)
  await twice.release()
})

test("a short run that fails rejects, and the next one works", async () => {
  const rows = await device.compile(
    graph("rows", { y: input("x", [3, 1]).gather(input("ids", [2], "i64")) }),
  )
  const x = await device.upload(float32([3, 1], Float32Array.of(5, 6, 7)))
  const picked = async (ids: number[]) => {
    const { y } = await rows.run({ x, ids: await device.upload(int64([2], ids)) })
    return [...y!.data!]
  }
  for (let round = 0; round < 3; round++) {
    expect(await picked([2, 0])).toEqual([7, 5])
    await expect(picked([0, 3])).rejects.toThrow(/rows/)
  }
  await rows.release()
})

test("packing on huge pages: what is made comes back, a failure too", async () => {
  const bytes = 2 ** 25
  expect(onHugePages(bytes, () => "made")).toBe("made")
  expect(() =>
    onHugePages(bytes, () => {
      throw new Error("refused")
    }),
  ).toThrow("refused")
})

const thp = "/sys/kernel/mm/transparent_hugepage/enabled"
const given = process.platform === "linux" && !readFileSync(thp, "utf8").includes("[never]")

test.skipIf(!given)(
  "constants of a session lie on huge pages where the system has them",
  async () => {
    const huge = () =>
      Number(readFileSync("/proc/self/smaps_rollup", "utf8").match(/AnonHugePages: *(\d+)/)![1])
    const before = huge()
    const n = 4096
    const weight = Float32Array.from({ length: n * n }, (_, i) => i % 7)
    const product = await device.compile(
      graph("product", { y: input("x", ["rows", n]).matmul(input("w", [n, n]), { transB: true }) }),
      { constants: { w: float32([n, n], weight) } },
    )
    const x = await device.upload(float32([1, n], new Float32Array(n).fill(1)))
    const { y } = await product.run({ x })
    expect(y!.data![0]).toBe(weight.subarray(0, n).reduce((sum, value) => sum + value, 0))
    expect(huge()).toBeGreaterThan(before)
    await product.release()
  },
)

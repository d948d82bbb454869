import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { graph, input } from "../../src/graph/index.ts"
import { spread } from "../../src/runtime/conformance/op-cases.ts"
import { fromDevice } from "../../src/runtime/conformance/transfer.ts"
import { type Device, float32 } from "../../src/runtime/index.ts"
import { interpret } from "../../src/runtime/reference.ts"
import { DEVICES, deviceOrSay } from "./devices.ts"

const [IN, OUT] = [96, 80]
const numbers = (length: number, seed: number) => Float32Array.from(spread(length, [-1, 1], seed))

/** y = (x W^T + b) W2, with a bias and a factor that other ops than products read. */
function layers() {
  const x = input("x", ["rows", IN])
  const bias = input("bias", [OUT])
  const first = x.matmul(input("w", [OUT, IN]), { transB: true }).add(bias)
  return graph("layers", { y: first.mul(bias).matmul(input("w2", [OUT, 7])) })
}

describe.each(DEVICES)("$name", ({ name, tolerance }) => {
  let device: Device | undefined
  beforeAll(async () => {
    device = await deviceOrSay(name)
  })
  afterAll(() => device?.release())

  const constants = () => ({
    w: float32([OUT, IN], numbers(OUT * IN, 1)),
    bias: float32([OUT], numbers(OUT, 2)),
    w2: float32([OUT, 7], numbers(OUT * 7, 3)),
  })

  test("constants are what they were when the graph was compiled", async ({ skip }) => {
    if (!device) return skip(`no ${name} here`)
    const given = constants()
    const executable = await device.compile(layers(), { constants: given })
    const feeds = Object.fromEntries(
      Object.entries({ x: float32([5, IN], numbers(5 * IN, 4)), ...given }).map(([key, host]) => [
        key,
        { shape: host.shape, data: Float64Array.from(host.data as Float32Array) },
      ]),
    )
    const expected = interpret(layers(), feeds).y!.data
    for (const { data } of Object.values(given)) data.fill(Number.NaN as never)
    const x = await device.upload(float32([5, IN], numbers(5 * IN, 4)))
    const { y } = await executable.run({ x })
    const got = await fromDevice(device, y!)
    const scale = Math.max(...expected.map(Math.abs))
    for (const [i, value] of got.entries()) {
      expect(Math.abs(value - expected[i]!) / scale).toBeLessThan(10 * tolerance)
    }
    await executable.release()
  })

  test("a constant that the graph does not know is our mistake", async ({ skip }) => {
    if (!device) return skip(`no ${name} here`)
    const strange = { constants: { v: float32([1]) } }
    await expect(device.compile(layers(), strange)).rejects.toThrow(/the constant v is no input/)
  })
})

test("on the CPU a row has the same bits beside any number of others", async () => {
  const cpu = (await deviceOrSay("cpu"))!
  const w = float32([OUT, IN], numbers(OUT * IN, 1))
  const product = graph("product", {
    y: input("x", ["rows", IN]).matmul(input("w", [OUT, IN]), { transB: true }),
  })
  const executable = await cpu.compile(product, { constants: { w } })
  const row = numbers(IN, 5)
  const lastRow = async (rows: number) => {
    const x = float32([rows, IN], numbers(rows * IN, rows))
    ;(x.data as Float32Array).set(row, (rows - 1) * IN)
    const { y } = await executable.run({ x: await cpu.upload(x) })
    return (y!.data as Float32Array).slice((rows - 1) * OUT)
  }
  const alone = await lastRow(1)
  for (const rows of [2, 5, 16, 33, 200]) expect(await lastRow(rows)).toEqual(alone)
  await executable.release()
  await cpu.release()
})

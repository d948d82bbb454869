import { readFileSync } from "node:fs"
import { afterAll, expect, test } from "vitest"
import { createAdafactor, createMuon } from "../../src/optim/index.ts"
import { float32 } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"

const device = await openDevice({ device: "cpu", threads: 2 })
afterAll(() => device.release())

type Nested = readonly (number | readonly number[])[]
type ByName = Readonly<Record<string, Nested>>
interface Run {
  readonly start: ByName
  readonly steps: readonly {
    readonly lr: number
    readonly scale: number
    readonly gradients: ByName
    readonly parameters: ByName
  }[]
}
const golden = JSON.parse(
  readFileSync(new URL("../../golden/whole_optimizers.json", import.meta.url), "utf8"),
) as {
  readonly weight_decay: number
  readonly momentum: number
  readonly adafactor: Run
  readonly muon: Run
}
const weightDecay = golden.weight_decay
const MADE = {
  adafactor: () => createAdafactor(device, { weightDecay }),
  muon: () => createMuon(device, { weightDecay, momentum: golden.momentum }),
}
const cases = (["adafactor", "muon"] as const).flatMap((optimizer) =>
  Object.keys(golden[optimizer].start).map((name) => [optimizer, name] as const),
)

const shapeOf = (values: Nested): number[] =>
  Array.isArray(values[0]) ? [values.length, values[0].length] : [values.length]
const upload = (values: Nested) =>
  device.upload(float32(shapeOf(values), Float32Array.from(values.flat())))

test.each(cases)("12 steps of %s over a %s are PyTorch's", async (optimizer, name) => {
  const rule = await MADE[optimizer]()
  const { start, steps } = golden[optimizer]
  const shape = shapeOf(start[name]!)
  let parameter = await upload(start[name]!)
  const place = parameter.data
  const zeros = Object.entries(rule.stateShapes(shape)).map(
    async ([kind, dims]) => [kind, await device.upload(float32(dims))] as const,
  )
  let state = Object.fromEntries(await Promise.all(zeros))
  for (const [i, { lr, scale, gradients, parameters }] of steps.entries()) {
    const gradient = await upload(gradients[name]!)
    const step = { step: i + 1, learningRate: lr, gradientScale: scale, decay: shape.length > 1 }
    const after = await rule.update({ parameter, gradient, state }, step)
    parameter = after.parameter
    state = { ...after.state }
    expect(parameter.data).toBe(place)
    for (const [k, expected] of parameters[name]!.flat().entries()) {
      const found = (parameter.data as Float32Array)[k]!
      expect(Math.abs(found - expected)).toBeLessThan(2e-6 * Math.max(1, Math.abs(expected)))
    }
  }
  await rule.release()
})

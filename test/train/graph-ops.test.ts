import { readFileSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { graph, input, ndarray, type Tensor } from "../../src/graph/index.ts"
import {
  type Columns,
  type Expression,
  emit,
  evaluate,
  objectiveFromConfig,
  reduceInputs,
  splitReductions,
  tokenScales,
  weightOf,
} from "../../src/objectives/index.ts"
import { fromDevice, toDevice } from "../../src/runtime/conformance/transfer.ts"
import { type Device, interpret } from "../../src/runtime/index.ts"
import { GRAPH_OPS } from "../../src/train/graph-ops.ts"
import { GOLDEN_CASES, stepTokens } from "../objectives/golden-rl.ts"
import { deviceOrSay } from "../runtime/devices.ts"

const golden = JSON.parse(
  readFileSync(new URL("../../golden/objectives.json", import.meta.url), "utf8"),
)
const sequences: number[] = golden.sequences
const N = sequences.length
const columns: Record<string, Float64Array> = Object.fromEntries(
  [...Object.entries(golden.columns), ["progress", Array(N).fill(golden.step / golden.steps)]].map(
    ([name, values]) => [name, Float64Array.from(values as number[])],
  ),
)
const certain = { ...columns, logp: columns.logp!.map((x, t) => (t === 0 ? 0 : x)) }
const impossible = { ...columns, logp: columns.logp!.map((x, t) => (t === 0 ? -Infinity : x)) }

/** Value and coefficients as one graph, with the reductions of the step fed as columns. */
function traced(expression: Expression, given: Columns, segments: ArrayLike<number> = sequences) {
  const N = segments.length
  const split = splitReductions(expression)
  const fed: Record<string, Float64Array> = {}
  const all = { ...given, ...reduceInputs(split, given, segments) }
  for (const [name, values] of Object.entries(all)) {
    fed[name] = typeof values === "number" ? new Float64Array(N).fill(values) : values!
  }
  const inputs: Record<string, Tensor> = {}
  for (const name of Object.keys(fed)) inputs[name] = input(name, [N])
  const { loss, coefficients } = emit(split.expression, GRAPH_OPS, inputs)
  const outputs = Object.fromEntries(
    Object.entries(coefficients).map(([name, tensor]) => [`d.${name}`, tensor!.expand([N])]),
  )
  const made = graph("objective", { loss: loss.expand([N]), ...outputs })
  const feeds = Object.fromEntries(made.inputs.map(({ name }) => [name, ndarray([N], fed[name]!)]))
  return { made, feeds }
}

function expected(expression: Expression, given: Columns): Record<string, Float64Array> {
  const { loss, coefficients } = evaluate(expression, given, sequences)
  const named = Object.entries(coefficients).map(([name, values]) => [`d.${name}`, values])
  return { loss, ...Object.fromEntries(named) }
}

/** Equal beside the size of what was expected. */
function near(found: ArrayLike<number>, wanted: Float64Array, tolerance: number, what: string) {
  wanted.forEach((value, t) => {
    const apart = Math.abs(found[t]! - value) / (1 + Math.abs(value))
    expect(apart < tolerance || Object.is(found[t], value), `${what}[${t}]`).toBe(true)
  })
}

const cases = golden.cases.map((one: { settings: { name: string } }) => ({
  title: JSON.stringify(one.settings),
  expression: objectiveFromConfig(one.settings).expression,
})) as { title: string; expression: Expression }[]

test.each(cases)("$title as a graph, in float64", ({ expression }) => {
  const { made, feeds } = traced(expression, columns)
  const found = interpret(made, feeds)
  const wanted = expected(expression, columns)
  expect(Object.keys(found).sort()).toEqual(Object.keys(wanted).sort())
  for (const [name, values] of Object.entries(wanted)) near(found[name]!.data, values, 1e-13, name)
})

describe("on the CPU, in float32", () => {
  let device: Device | undefined
  beforeAll(async () => {
    device = await deviceOrSay("cpu")
  })
  afterAll(() => device?.release())

  test.for(cases)("$title", async ({ expression }, { skip }) => {
    if (!device) return skip("no CPU device here")
    for (const given of [columns, certain, impossible]) {
      const { made, feeds } = traced(expression, given)
      const wanted = expected(expression, given)
      const executable = await device.compile(made)
      const results = await executable.run(await toDevice(device, made, feeds))
      for (const { name } of made.outputs) {
        const found = await fromDevice(device, results[name]!)
        near(found, wanted[name]!, 1e-5, name)
      }
      await executable.release()
    }
  })
})

describe("of pairs and samples, on the CPU, in float32", () => {
  let device: Device | undefined
  beforeAll(async () => {
    device = await deviceOrSay("cpu")
  })
  afterAll(() => device?.release())

  test.for(GOLDEN_CASES)("$name has TRL's gradient", async (one, { skip }) => {
    if (!device) return skip("no CPU device here")
    const { objective, step, gradient } = one
    const { made, feeds } = traced(objective.expression, step.columns, step.segments)
    const executable = await device.compile(made)
    const results = await executable.run(await toDevice(device, made, feeds))
    const found = await fromDevice(device, results["d.logp"]!)
    const scales = one.tokens
      ? new Float64Array(found.length).fill(1 / one.tokens)
      : tokenScales(objective.normalization, stepTokens(step))
    const scaled = Array.from(found, (value, t) => value * scales[t]!)
    near(scaled, Float64Array.from(gradient), 2e-6, one.name)
    await executable.release()
  })
})

test("p = 0 gives DFT neither value nor weight, in the graph as by definition", () => {
  const { expression } = objectiveFromConfig("dft")
  const { made, feeds } = traced(expression, impossible)
  const found = interpret(made, feeds)
  expect(Math.abs(found.loss!.data[0]!)).toBe(0)
  expect(Math.abs(found["d.logp"]!.data[0]!)).toBe(0)
  expect(weightOf(expression).op).toBe("detach")
})

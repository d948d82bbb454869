import { describe, expect, test } from "vitest"
import {
  definitionOf,
  emit,
  evaluate,
  expressionFromJson,
  expressionToJson,
  FAMILY,
  INPUTS,
  needs,
  objectiveFromConfig,
  reduceInputs,
  splitReductions,
} from "../../src/objectives/index.ts"
import { float64Ops } from "./float64-ops.ts"
import {
  at,
  COLUMNS,
  clamp,
  column,
  type Law,
  LOGP,
  MEANS,
  N,
  SAMPLE_LAWS,
  SEGMENTS,
  sequenceRatio,
} from "./laws.ts"

/** The weight of each token's NLL, -d loss / d logp, as the paper's formula gives it by hand. */
const laws: readonly Law[] = [
  { name: "sft", weight: () => 1 },
  { name: "rft", weight: () => 1 },
  { name: "dft", weight: (p) => p },
  { name: "power", settings: { a: 0, b: 0 }, weight: () => 1 },
  { name: "power", weight: (p) => p },
  { name: "power", settings: { a: 1, b: 1 }, weight: (p) => p * (1 - p) },
  { name: "power", settings: { a: 0.5 }, weight: (p) => Math.sqrt(p) },
  { name: "power", settings: { a: 0, b: 2 }, weight: (p) => (1 - p) ** 2 },
  { name: "alpha", settings: { a: 0 }, weight: () => 1 },
  { name: "alpha", weight: (p) => p },
  { name: "alpha", settings: { a: 10 }, weight: (p) => p ** 10 },
  { name: "threshold", weight: (p) => Number(p > 0.2) },
  { name: "threshold", settings: { tau: 0.5, keep: "low" }, weight: (p) => Number(p <= 0.5) },
  { name: "threshold", settings: { a: 1 }, weight: (p) => (p > 0.2 ? p : 0) },
  { name: "mix", settings: { a: 0.3 }, weight: (p) => 0.3 * p + 0.7 },
  { name: "focal", weight: (p, _t, c) => (1 - p) ** 2 + 2 * p * (1 - p) * c },
  { name: "luffy", weight: (p) => (0.1 * p) / (p + 0.1) ** 2 },
  { name: "eaft", weight: (_p, t) => at("topk_entropy", t) / Math.log(20) },
  {
    name: "eaft",
    settings: { alpha: 2 },
    weight: (_p, t) => (at("topk_entropy", t) / Math.log(20)) ** 2,
  },
  { name: "talr", weight: (p) => Math.max(p ** (1 / MEANS[1]!), 0.01) },
  {
    name: "idft",
    settings: { ramp: { start: 0, end: 0 } },
    weight: (_p, t, c) => 1 - 0.9 / (1 + Math.exp(at("entropy", t) - c)),
  },
  {
    name: "idft",
    weight: (_p, t, c) => 0.5 + 0.5 * (1 - 0.9 / (1 + Math.exp(at("entropy", t) - c))),
  },
  { name: "asft", weight: (p) => p },
  { name: "sft-kl", weight: () => 1 },
  { name: "iw-sft", weight: (_p, t) => clamp(sequenceRatio(SEGMENTS[t]!, 1), 0, 16) },
  {
    name: "iw-sft",
    settings: { temperature: 0.5, low: 0.9 },
    weight: (_p, t) => clamp(sequenceRatio(SEGMENTS[t]!, 0.5), 0.9, 16),
  },
  {
    name: "iw-sft",
    settings: { mode: "token" },
    weight: (_p, t) => clamp(Math.exp(LOGP[t]! - at("ref_logp", t)), 0.2, 1.8),
  },
  {
    name: "psft",
    weight: (_p, t) => {
      const ratio = Math.exp(LOGP[t]! - at("old_logp", t))
      return ratio > 1.2 ? 0 : ratio
    },
  },
  ...SAMPLE_LAWS,
]

const titled = laws.map((law) => ({ ...law, title: JSON.stringify([law.name, law.settings]) }))

describe.each(titled)("$title", ({ name, settings, weight }) => {
  const { expression } = objectiveFromConfig({ name, ...settings })
  const judged = evaluate(expression, COLUMNS, SEGMENTS)

  test("obeys its gradient law", () => {
    LOGP.forEach((logp, t) => {
      const expected = weight(Math.exp(logp), t, -logp)
      const scale = Math.max(1, Math.abs(expected))
      expect(-judged.coefficients.logp[t]! / scale).toBeCloseTo(expected / scale, 10)
    })
  })

  test("comes back from JSON", () => {
    const back = expressionFromJson(JSON.parse(JSON.stringify(expressionToJson(expression))))
    expect(evaluate(back, COLUMNS, SEGMENTS)).toEqual(judged)
  })

  test("is emitted through tensors with the same meaning", () => {
    const split = splitReductions(expression)
    const inputs = { ...COLUMNS, ...reduceInputs(split, COLUMNS, SEGMENTS) }
    const tensors = Object.fromEntries(
      Object.entries(inputs).map(([key, value]) => {
        return [key, typeof value === "number" ? column(() => value) : value]
      }),
    )
    const emitted = emit(split.expression, float64Ops(N), tensors)
    emitted.loss.forEach((value, t) => {
      expect(value).toBeCloseTo(judged.loss[t]!, 12)
    })
    emitted.coefficients.logp!.forEach((value, t) => {
      expect(value).toBeCloseTo(judged.coefficients.logp[t]!, 12)
    })
  })

  test("is finite from p = 1 to p = 0", () => {
    const extremes = Float64Array.of(0, -1e-300, -1e-12, -50, -104, -700, -1e4, -Infinity)
    const finite = extremes.map((x) => Math.max(x, -1e4))
    const flat = { ...COLUMNS, old_logp: finite, ref_logp: finite, logp: extremes }
    // GRPO's KL estimate is infinite where the policy excludes what the reference allows.
    const count = name === "grpo" ? 7 : 8
    const { loss, coefficients } = evaluate(expression, flat, SEGMENTS)
    expect(loss.slice(0, 7).every(Number.isFinite)).toBe(true)
    expect(loss.some((value, t) => t < count && Number.isNaN(value))).toBe(false)
    expect(coefficients.logp.slice(0, count).every(Number.isFinite)).toBe(true)
  })
})

/**
 * Those that couple the tokens of a sequence or a pair: held by golden-rl.test.ts,
 * preference.test.ts, reward-model.test.ts.
 */
const COUPLED = ["dpo", "simpo", "cpo", "orpo", "kto", "reward", "gspo", "rloo"]

/** The weight that an objective states, where it is a weight alone; undefined for other forms. */
function statedWeight(name: string): Float64Array | undefined {
  const definition = definitionOf(name)!
  const values = Object.fromEntries(
    Object.entries(definition.parameters).map(([key, parameter]) => [key, parameter.default]),
  )
  const form = definition.form(values as never, INPUTS)
  if (!("weight" in form) || form.anchor || definition.ramp) return undefined
  return evaluate(form.weight, COLUMNS, SEGMENTS).loss
}

const weighted = Object.keys(FAMILY).filter((name) => statedWeight(name) !== undefined)

test.each(weighted)("%s pulls with the weight that its form states, detached", (name) => {
  const { coefficients } = evaluate(objectiveFromConfig(name).expression, COLUMNS, SEGMENTS)
  statedWeight(name)!.forEach((weight, t) => {
    expect(-coefficients.logp![t]!).toBeCloseTo(weight, 12)
  })
})

test("every name has a law tested here, by hand where it is more than a weight", () => {
  const held = new Set<string>([...laws.map(({ name }) => name), ...COUPLED, ...weighted])
  expect(Object.keys(FAMILY).filter((name) => !held.has(name))).toEqual([])
})

test("the KL anchors pull through kl_ref with lambda, and vanish with it", () => {
  for (const name of ["asft", "sft-kl"] as const) {
    const { expression } = objectiveFromConfig({ name, lambda: 0.1 })
    const { coefficients } = evaluate(expression, COLUMNS, SEGMENTS)
    expect([...coefficients.kl_ref!]).toEqual(Array(N).fill(0.1))
    expect(needs(expression).reference).toBe(true)
    const { expression: without } = objectiveFromConfig({ name, lambda: 0 })
    const plain = objectiveFromConfig(name === "asft" ? "dft" : "sft").expression
    expect(expressionToJson(without)).toEqual(expressionToJson(plain))
  }
})

test("only what is asked for is needed", () => {
  const inputs = (name: string, more = {}) => [
    ...needs(objectiveFromConfig({ name, ...more }).expression).inputs,
  ]
  expect(inputs("dft")).toEqual(["logp"])
  expect(inputs("grpo").sort()).toEqual(["advantage", "logp", "old_logp"])
  expect(inputs("eaft").sort()).toEqual(["logp", "topk_entropy"])
  expect(inputs("dft", { keep_special: true }).sort()).toEqual(["logp", "token_class"])
  expect(needs(objectiveFromConfig("talr").expression).firstPass).toBe(true)
  expect(needs(objectiveFromConfig({ name: "iw-sft", mode: "token" }).expression)).toMatchObject({
    reference: true,
    firstPass: false,
  })
})

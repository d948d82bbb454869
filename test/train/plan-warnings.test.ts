import { expect, test } from "vitest"
import { type ConfigInput, parseConfig } from "../../src/config/index.ts"
import { formulaObjective, objectiveToConfig } from "../../src/objectives/index.ts"
import { objectiveWarnings, type PlanFacts, planWarnings } from "../../src/train/plan-warnings.ts"

function codes(input: Partial<ConfigInput>, facts: Partial<PlanFacts> = {}): string[] {
  const config = parseConfig({ model: "m", data: { train: "a.jsonl" }, ...input })
  const usual = { rows: 1000, truncated: 0, steps: 120, rowsSeen: 1000, parameters: 5e8 }
  return planWarnings({ config, preference: false, ...usual, ...facts }).map(({ code }) => code)
}

test.each<[string, Partial<ConfigInput>, Partial<PlanFacts>, string[]]>([
  ["a usual run", {}, {}, []],
  ["two steps", {}, { steps: 2 }, ["few-steps"]],
  ["85 epochs", { max_steps: 85 }, { steps: 85, rows: 60, rowsSeen: 85 * 60 }, ["many-epochs"]],
  ["rows cut", {}, { truncated: 51 }, ["many-truncated"]],
  ["few rows cut", {}, { truncated: 50 }, []],
  ["an adapter's rate for all weights", { learning_rate: 2e-4 }, {}, ["unusual-learning-rate"]],
  ["the same for an adapter", { learning_rate: 2e-4, adapter: "lora" }, {}, []],
  [
    "a rate that no model bears",
    { learning_rate: 0.5 },
    { parameters: 1e6 },
    ["unusual-learning-rate"],
  ],
  ["of a tiny model nothing is known", { learning_rate: 1e-2 }, { parameters: 1e6 }, []],
  ["preferences want less", {}, { preference: true }, ["unusual-learning-rate"]],
])("%s", (_, input, facts, expected) => {
  expect(codes(input, facts)).toEqual(expected)
})

const kto = (weights: object, good: number, bad: number) =>
  codes(
    { objective: { name: "kto", ...weights }, learning_rate: 1e-6 },
    { preference: true, labels: { good, bad } },
  )

test.each<[object, number, number, boolean]>([
  [{}, 50, 100, false],
  [{}, 49, 100, true],
  [{}, 100, 49, true],
  [{ desirable_weight: 4 }, 25, 100, false],
  [{ desirable_weight: 4 }, 100, 100, true],
  [{ undesirable_weight: 0.25 }, 25, 100, false],
  [{}, 10, 0, true],
  [{}, 0, 10, true],
])("KTO with %o of %i good answers and %i bad ones: %s", (weights, good, bad, warned) => {
  expect(kto(weights, good, bad)).toEqual(warned ? ["unbalanced-labels"] : [])
})

test("labels that are not even come with the weight that evens them", () => {
  const config = parseConfig({ model: "m", data: { train: "a.jsonl" }, objective: "kto" })
  const facts = { rows: 501, truncated: 0, steps: 60, rowsSeen: 501, parameters: 1e6 }
  const told = { config, preference: true, ...facts, labels: { good: 89, bad: 412 } }
  const [warning] = planWarnings(told)
  expect(warning?.message).toContain("89 answers are labelled good and 412 bad")
  expect(warning?.hint).toContain("desirable_weight: 4.6 }")
})

test("few steps come with a batch size that makes more", () => {
  const config = parseConfig({ model: "m", data: { train: "a.jsonl" } })
  const facts = { config, rows: 1000, truncated: 0, steps: 4, rowsSeen: 1000, parameters: 1e6 }
  const [warning] = planWarnings({ ...facts, preference: false })
  expect(warning?.hint).toMatch(/batch_size: 10 would make about 100 steps/)
})

/** What is said of a formula as the run's objective. */
const saidOf = (formula: string) => {
  const objective = objectiveToConfig(formulaObjective("mine", formula)) as ConfigInput["objective"]
  return objectiveWarnings(parseConfig({ model: "m", data: { train: "a.jsonl" }, objective }))
}

test.each([
  "p * nll",
  "-p * logp",
  "p ^ 2 * nll",
  "sg(p) * nll - 0.5 * nll",
  "where(p < 0.1, -nll, nll)",
])("%s pushes tokens away, which is said", (formula) => {
  const [warning, ...more] = saidOf(formula)
  expect(more).toEqual([])
  expect(warning?.code).toBe("pushes-tokens-away")
  expect(warning?.message).toMatch(/^objective mine pushes .* the weight -/)
})

test.each(["nll", "sg(p) * nll", "sg(p ^ 2) * nll", "(1 - p) * nll", "-p", "sg(entropy) * nll"])(
  "%s does not",
  (formula) => {
    expect(saidOf(formula)).toEqual([])
  },
)

test("a source's own objective is looked at, and named", () => {
  const objective = objectiveToConfig(formulaObjective("mine", "p * nll"))
  const data = { train: [{ path: "a.jsonl" }, { path: "b.jsonl", objective }] }
  const config = parseConfig({ model: "m", data })
  const [warning] = objectiveWarnings(config)
  expect(warning?.message).toMatch(/^data\.train\[1\]\.objective mine /)
  const facts = { config, rows: 1000, truncated: 0, steps: 120, rowsSeen: 1000 }
  const all = planWarnings({ ...facts, parameters: 5e8, preference: false })
  expect(all.map(({ code }) => code)).toEqual(["pushes-tokens-away"])
})

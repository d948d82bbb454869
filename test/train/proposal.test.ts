import { expect, test } from "vitest"
import { type ProposalFacts, proposal, type RowFacts } from "../../src/train/proposal.ts"

const rows = (count: number, more: Partial<RowFacts> = {}): RowFacts => ({
  rows: count,
  complete: true,
  tokens: 76 * count,
  most: 118,
  longest: 400,
  lints: [],
  ...more,
})
const model = (parameters: number) =>
  ({ parameters, folder: "", model: { shape: { maxPositionEmbeddings: 8192 } } }) as never

function proposed(facts: Partial<ProposalFacts>) {
  const given = { objective: "dft", lora: undefined, model: model(135e6), rows: rows(60) }
  return proposal({ ...given, memory: 16e9, ...facts })
}

test.each([60, 300, 1000, 5000, 100_000, 3_000_000])("%i rows make 100 to 1,000 steps", (count) => {
  const { steps, epochs, batchSize } = proposed({ rows: rows(count) })
  expect(steps).toBeGreaterThanOrEqual(100)
  expect(epochs.value).toBeLessThanOrEqual(8)
  if (count < 1e6) expect(steps).toBeLessThanOrEqual(1000)
  expect(batchSize.value).toBeGreaterThanOrEqual(4)
})

test("an adapter where the memory asks for it, or the user", () => {
  expect(proposed({}).adapter.value).toBe(false)
  expect(proposed({ model: model(3e9) }).adapter.value).toBe(true)
  expect(proposed({ lora: true }).adapter.value).toBe(true)
  expect(proposed({ model: undefined }).adapter.value).toBe(true)
})

test("the length covers 99 % of the rows and stays inside the model", () => {
  expect(proposed({}).maxLength.value).toBe(128)
  expect(proposed({ rows: rows(60, { most: 9000 }) }).maxLength.value).toBe(8192)
})

test("rates by adapter, objective and size", () => {
  const rate = (facts: Partial<ProposalFacts>) => proposed(facts).learningRate.value
  expect(rate({})).toBe(5e-5)
  expect(rate({ objective: "sft" })).toBe(1e-5)
  expect(rate({ lora: true })).toBe(3e-4)
  expect(rate({ lora: true, objective: "sft" })).toBe(2e-4)
  expect(rate({ model: model(1e6) })).toBe(5e-4)
})

import { expect, test } from "vitest"
import { objectiveFromConfig } from "../../src/objectives/index.ts"
import type { StepEvent } from "../../src/run/events.ts"
import {
  abandonedTokensWarning,
  abandonedTokensWatch,
  keepsSpecialTokens,
} from "../../src/train/abandoned-tokens.ts"
import {
  addStatistics,
  histogramFields,
  NO_TOKENS,
  statisticsFields,
  type TokenNumbers,
  tokenStatistics,
} from "../../src/train/token-statistics.ts"

const P = [0.5, 0.05, 0.25, 0.9995, 1, 0.009, 0.0005, 0.00001]
const tokens: TokenNumbers = {
  logp: P.map(Math.log),
  loss: P.map((p) => -p * Math.log(p)),
  weight: P,
  tokenClass: [0, 1, 2, 0, 0, 1, 0, 0],
  correct: [1, 0, 0, 1, 1, 0, 0, 0],
  entropy: P.map((_, t) => t),
}
const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)

test("the fields are means over tokens", () => {
  const fields = statisticsFields(tokenStatistics(tokens))
  expect(fields.nll).toBeCloseTo(-sum(P.map(Math.log)) / 8, 14)
  expect(fields.loss).toBeCloseTo(-sum(P.map((p) => p * Math.log(p))) / 8, 14)
  expect(fields.mean_p).toBeCloseTo(sum(P) / 8, 14)
  expect(fields.mean_weight).toBeCloseTo(sum(P) / 8, 14)
  expect(fields.effective_tokens).toBeCloseTo(sum(P) ** 2 / sum(P.map((p) => p * p)), 12)
  expect(fields.entropy).toBe(3.5)
  expect(fields.token_accuracy).toBe(3 / 8)
  expect(fields.eos_p).toBeCloseTo((0.05 + 0.009) / 2, 14)
  expect(fields).not.toHaveProperty("kl_ref")
})

test("equal weights count every token, one heavy token counts as one", () => {
  const with_ = (weight: number[]) => statisticsFields(tokenStatistics({ ...tokens, weight }))
  expect(with_(Array(8).fill(0.3)).effective_tokens).toBeCloseTo(8, 12)
  expect(with_([0, 0, 0, 7, 0, 0, 0, 0]).effective_tokens).toBe(1)
  expect(with_(Array(8).fill(0)).effective_tokens).toBe(0)
})

test("the histogram has the paper's bins", () => {
  const { bins, small_bins } = histogramFields(tokenStatistics(tokens))
  expect(bins).toEqual([4, 0, 1, 0, 0, 1, 0, 0, 0, 2])
  expect(small_bins).toEqual([1, 1, 1])
})

test("p = 0 is counted, a hair above 1 falls in the last bin", () => {
  const edge = { ...tokens, logp: [-Infinity, 1e-7, 0, 0, 0, 0, 0, 0] }
  const { bins, small_bins } = histogramFields(tokenStatistics(edge))
  expect([bins[0], bins[9], small_bins[0]]).toEqual([1, 7, 1])
})

test("parts add up to the whole, in any split", () => {
  const part = (from: number, to: number): TokenNumbers => {
    const cut = (column: ArrayLike<number>) => Array.from(column).slice(from, to)
    return Object.fromEntries(
      Object.entries(tokens).map(([name, column]) => [name, cut(column)]),
    ) as unknown as TokenNumbers
  }
  const parts = [part(0, 1), part(1, 5), part(5, 8)].map(tokenStatistics)
  const together = statisticsFields(parts.reduce(addStatistics, NO_TOKENS))
  for (const [name, value] of Object.entries(statisticsFields(tokenStatistics(tokens)))) {
    expect(together[name as "nll"]).toBeCloseTo(value as number, 12)
  }
  expect(histogramFields(parts.reduce(addStatistics))).toEqual(
    histogramFields(tokenStatistics(tokens)),
  )
})

test("no tokens give zeros, no NaN", () => {
  const fields = statisticsFields(NO_TOKENS)
  expect(fields).toMatchObject({ loss: 0, nll: 0, mean_p: 0, effective_tokens: 0, eos_p: null })
})

test("a reference's KL is reported when there is one", () => {
  const klRef = Array<number>(8).fill(0.25)
  expect(statisticsFields(tokenStatistics({ ...tokens, klRef })).kl_ref).toBe(0.25)
})

const endOfTurn = (eos_p: number | null) => ({ eos_p, special_p: null })

test("an end of turn that stays unlikely is warned about, with remedies", () => {
  const abandoned = abandonedTokensWarning({
    first: endOfTurn(2e-6),
    now: endOfTurn(3e-6),
    keepsThem: false,
  })
  expect(abandoned?.code).toBe("abandoned-end-of-turn")
  expect(abandoned?.hint).toContain("keep_special")
})

test("no warning when it is known, being learned, or kept", () => {
  const now = endOfTurn(0.01)
  expect(abandonedTokensWarning({ now: endOfTurn(0.4), keepsThem: false })).toBeUndefined()
  expect(abandonedTokensWarning({ first: endOfTurn(1e-3), now, keepsThem: false })).toBeUndefined()
  expect(abandonedTokensWarning({ now, keepsThem: true })).toBeUndefined()
  expect(abandonedTokensWarning({ now, keepsThem: false })?.message).toContain("0.010")
})

test("template targets are watched as the end of a turn is", () => {
  const now = { eos_p: 0.9, special_p: 1e-3 }
  expect(abandonedTokensWarning({ now, keepsThem: false })?.code).toBe("abandoned-special-tokens")
})

test("a run is warned once, by its own events, and a resumed one by those before it", () => {
  const dft = objectiveFromConfig("dft")
  const stepAt = (step: number, eos_p: number) => ({ type: "step", step, eos_p }) as StepEvent
  const watch = abandonedTokensWatch(dft)
  expect(watch(stepAt(1, 0.3))).toBeUndefined()
  expect(watch(stepAt(2, 0.05))?.code).toBe("abandoned-end-of-turn")
  expect(watch(stepAt(3, 0.05))).toBeUndefined()
  const learning = abandonedTokensWatch(dft, [stepAt(1, 0.01)])
  expect(learning(stepAt(9, 0.05))).toBeUndefined()
  expect(abandonedTokensWatch(dft)(stepAt(9, 0.05))?.code).toBe("abandoned-end-of-turn")
})

test.each([
  [{ name: "sft" }, true],
  [{ name: "focal" }, true],
  [{ name: "dft" }, false],
  [{ name: "power", a: 1, b: 0 }, false],
  [{ name: "dft", keep_special: true }, true],
  [{ name: "dft", weight_floor: 0.1 }, true],
  [{ name: "dft", ramp: { start: 0, end: 0.5 } }, true],
  [{ name: "eaft" }, false],
])("whether %o teaches what the model does not expect: %s", (settings, keeps) => {
  expect(keepsSpecialTokens(objectiveFromConfig(settings))).toBe(keeps)
})

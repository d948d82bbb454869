import { describe, expect, test } from "vitest"
import {
  DEFAULTS,
  linkOf,
  PRESETS,
  problemOf,
  type Settings,
  settingsOf,
  TASKS,
} from "../../web/src/playground/settings.ts"
import { fc } from "../seeded-check.ts"

const encoded = (value: unknown) =>
  `#s=${Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url")}`
const settings: fc.Arbitrary<Settings> = fc.record({
  a: fc.constantFrom(...PRESETS.map(([, formula]) => formula)),
  b: fc.constantFrom(...PRESETS.map(([, formula]) => formula)),
  task: fc.constantFrom(...TASKS),
  noise: fc.double({ min: 0, max: 1, noNaN: true }),
  learningRate: fc.double({ min: 1e-6, max: 0.1, noNaN: true }),
  rank: fc.integer({ min: 0, max: 64 }),
  steps: fc.integer({ min: 1, max: 1000 }),
  batchSize: fc.integer({ min: 1, max: 64 }),
  seed: fc.integer({ min: 0, max: 1e6 }),
  device: fc.constantFrom("auto", "wasm", "webgpu"),
})

test("settings come out of a link as they went in", () => {
  fc.assert(
    fc.property(settings, (given) => {
      expect(settingsOf(linkOf(given))).toEqual({ settings: given })
    }),
  )
})

test("a link of before, without the rows of a step, is taken", () => {
  const { batchSize: _, ...before } = DEFAULTS
  expect(settingsOf(encoded(before))).toEqual({ settings: DEFAULTS })
})

test("whatever else stands there is refused, or taken whole", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      const { settings, problem } = settingsOf(encoded(text))
      expect(settings).toEqual(DEFAULTS)
      expect(problem).toMatch(/not taken: \S/)
    }),
  )
  expect(settingsOf("#elsewhere")).toEqual({ settings: DEFAULTS })
})

describe("a hostile link is refused whole", () => {
  test.each([
    ["rows", { ...DEFAULTS, rows: "x" }],
    ["an address of a model", { ...DEFAULTS, model: "https://example.org/model" }],
    ["an address as a formula", { ...DEFAULTS, a: "https://example.org" }],
    ["a property of every object as a formula", { ...DEFAULTS, a: "constructor" }],
    ["the same as a function", { ...DEFAULTS, a: "toString(p)" }],
    ["markup", { ...DEFAULTS, a: "<img src=x onerror=alert(1)>" }],
    ["a text as number", { ...DEFAULTS, rank: "8" }],
    ["half a rank", { ...DEFAULTS, rank: 7.5 }],
    ["more steps than allowed", { ...DEFAULTS, steps: 1e9 }],
    ["no number", JSON.stringify(DEFAULTS).replace("0.002", "1e999")],
    ["a prototype", JSON.stringify(DEFAULTS).replace("{", '{"__proto__": {"a": 1}, ')],
    ["a list", [DEFAULTS]],
    ["nothing", null],
    ["a formula of brackets", { ...DEFAULTS, a: "(".repeat(400) }],
    ["a long formula", { ...DEFAULTS, a: `nll${" + 0".repeat(200)}` }],
    ["more than 4 kB", { ...DEFAULTS, a: "0 + ".repeat(1500) }],
  ])("%s", (_, value) => {
    const { settings, problem } = settingsOf(encoded(value))
    expect(settings).toEqual(DEFAULTS)
    expect(problem).toMatch(/not taken: \S/)
    expect(problem!.length).toBeLessThan(300)
  })
})

test("the longest settings are far below 4 kB", () => {
  const long = `nll${" + 0".repeat(124)}`
  expect(problemOf(long)).toBeUndefined()
  expect(linkOf({ ...DEFAULTS, a: long, b: long }).length).toBeLessThan(4096)
})

import { expect, test } from "vitest"
import { stopText } from "../../src/generate/index.ts"
import { fc } from "../seeded-check.ts"

/** What was shown piece by piece, and the text at the end. */
function feed(pieces: readonly string[], stops?: readonly string[]) {
  const text = stopText(stops)
  const shown = pieces.map((piece) => text.push(piece))
  shown.push(text.end())
  return { shown, text: text.text, stopped: text.stopped }
}

test("without stops everything is shown at once", () => {
  expect(feed(["a", "", "bc"])).toEqual({ shown: ["a", "", "bc", ""], text: "abc", stopped: false })
})

test("what may become a stop is held back, and shown when it does not", () => {
  expect(feed(["ab", "##", "x"], ["###"]).shown).toEqual(["ab", "", "##x", ""])
  expect(feed(["ab", "##"], ["###"]).shown).toEqual(["ab", "", "##"])
})

test("a stop ends the text, over pieces and inside one; nothing comes after it", () => {
  expect(feed(["ab#", "##", "more"], ["###"])).toEqual({
    shown: ["ab", "", "", ""],
    text: "ab",
    stopped: true,
  })
  expect(feed(["one Q: two"], ["\nQ:", "Q:"])).toMatchObject({ text: "one ", stopped: true })
})

test("of several stops the first in the text counts; an empty one is none", () => {
  expect(feed(["a,b.c"], [".", ",", ""])).toMatchObject({ text: "a", stopped: true })
})

test("what is shown is the text, however it is cut", () => {
  const word = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 12 })
  const stop = fc.string({ unit: fc.constantFrom("a", "b"), minLength: 1, maxLength: 4 })
  const check = fc.property(fc.array(word), fc.array(stop, { maxLength: 3 }), (pieces, stops) => {
    const whole = pieces.join("")
    const found = stops.map((text) => whole.indexOf(text)).filter((at) => at >= 0)
    const { shown, text, stopped } = feed(pieces, stops)
    expect(shown.join("")).toBe(text)
    expect(stopped).toBe(found.length > 0)
    // Cut in pieces, the stop that is complete first wins; its start is never before the earliest.
    if (stopped) expect(text.length).toBeGreaterThanOrEqual(Math.min(...found))
    else expect(text).toBe(whole)
  })
  fc.assert(check, { seed: 3, numRuns: 500 })
})

import { afterEach, beforeEach, expect, test, vi } from "vitest"
import { type ProgressLine, quietLine } from "../../../src/commands/shell/progress-line.ts"

let lines: string[]
let line: ProgressLine
beforeEach(() => {
  vi.useFakeTimers()
  lines = []
  line = quietLine((text) => void lines.push(text))
})
afterEach(() => {
  line.clear()
  vi.useRealTimers()
})
const wait = (seconds: number) => vi.advanceTimersByTime(1000 * seconds)

test("a text that is shown once is said every ten seconds, with how long it has stood", () => {
  line.show("timing a few layers")
  wait(9)
  expect(lines).toEqual([])
  wait(22)
  expect(lines).toEqual([
    "timing a few layers · for 10s",
    "timing a few layers · for 20s",
    "timing a few layers · for 30s",
  ])
})

test("texts that come quickly are a line every ten seconds, the newest", () => {
  for (let step = 1; step <= 250; step++) {
    line.show(`step ${step}`)
    wait(0.1)
  }
  expect(lines).toEqual(["step 100", "step 200"])
})

test("nothing is said of what is done, of what is short, and soon after something else was said", () => {
  wait(60)
  expect(lines).toEqual([])
  line.show("loading")
  expect(lines).toEqual(["loading"])
  wait(8)
  line.told()
  wait(9)
  expect(lines).toHaveLength(1)
  line.clear()
  wait(60)
  expect(lines).toHaveLength(1)
})

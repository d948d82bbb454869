import { expect, test } from "vitest"
import { progressMeter } from "../../src/report/progress.ts"

function meterAt(unit = "rows") {
  let at = 1000
  const meter = progressMeter("reading", { unit, now: () => at })
  return (seconds: number, done: number, total: number) => {
    at = 1000 + 1000 * seconds
    return meter(done, total)
  }
}

test("a bar, a share, what is done, its rate and the time left", () => {
  const at = meterAt()
  expect(at(0, 0, 200)).toBe("reading ░░░░░░░░░░░░░░░░   0 % · 0 of 200 rows")
  expect(at(10, 50, 200)).toBe("reading ████░░░░░░░░░░░░  25 % · 50 of 200 rows · 5.0/s · left 30s")
  expect(at(20, 200, 200)).toBe("reading ████████████████ 100 % · 200 of 200 rows · 10/s")
})

test("work that is gone on with: the rate is of what was done since", () => {
  const at = meterAt()
  at(0, 100, 200)
  expect(at(10, 110, 200)).toContain("110 of 200 rows · 1.0/s · left 1m 30s")
})

test("no rate before half a second, and none where nothing is done or known", () => {
  const at = meterAt()
  at(0, 0, 10)
  expect(at(0.2, 5, 10)).not.toContain("/s")
  expect(at(3, 0, 10)).not.toContain("/s")
  expect(meterAt()(3, 7, 0)).toBe("reading ░░░░░░░░░░░░░░░░   0 % · 7 rows")
})

test("bytes are written as such", () => {
  const at = meterAt("bytes")
  at(0, 0, 4e9)
  expect(at(2, 1e9, 4e9)).toContain("1.0 GB of 4.0 GB · 500 MB/s · left 6s")
})

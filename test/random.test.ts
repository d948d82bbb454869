import { expect, test } from "vitest"
import { randomStream } from "../src/random.ts"

const draw = (seed: number, name: string, n: number) => {
  const random = randomStream(seed, name)
  return Array.from({ length: n }, random)
}

test("a stream is its seed and name, and nothing else", () => {
  expect(draw(1, "a", 5)).toEqual(draw(1, "a", 5))
  expect(draw(2, "a", 5)).not.toEqual(draw(1, "a", 5))
  expect(draw(1, "b", 5)).not.toEqual(draw(1, "a", 5))
  expect(draw(1, "1:a", 5)).not.toEqual(draw(11, "a", 5))
})

test("numbers are uniform in [0, 1), by chi-squared over 16 bins for 32 neighbouring seeds", () => {
  for (let seed = 0; seed < 32; seed++) {
    const bins = new Array<number>(16).fill(0)
    for (const x of draw(seed, "uniform", 4096)) bins[Math.floor(16 * x)]! += 1
    const chi = bins.reduce((sum, count) => sum + (count - 256) ** 2 / 256, 0)
    expect(chi).toBeLessThan(45) // 15 degrees of freedom: one seed in 13,000 exceeds 45
  }
})

test("streams of neighbouring names and seeds are not correlated", () => {
  const correlation = (a: number[], b: number[]) =>
    (12 * a.reduce((sum, x, i) => sum + (x - 0.5) * (b[i]! - 0.5), 0)) / a.length
  const first = draw(0, "layer 0", 4096)
  expect(Math.abs(correlation(first, draw(1, "layer 0", 4096)))).toBeLessThan(0.07)
  expect(Math.abs(correlation(first, draw(0, "layer 1", 4096)))).toBeLessThan(0.07)
})

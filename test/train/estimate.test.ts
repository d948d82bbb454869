import { expect, test } from "vitest"
import { lineThrough } from "../../src/train/estimate.ts"

test.each([
  [
    "a cost by the pack and one by the token",
    [
      [100, 30],
      [200, 50],
      [400, 90],
    ],
    10,
    0.2,
  ],
  ["one size alone", [[200, 50]], 0, 0.25],
  [
    "larger packs that were faster",
    [
      [100, 50],
      [200, 40],
    ],
    0,
    0.3,
  ],
  [
    "a line that begins below nothing",
    [
      [100, 10],
      [200, 30],
    ],
    0,
    2 / 15,
  ],
] as const)("seconds of packs: %s", (_, points, fixed, slope) => {
  const line = lineThrough(points)
  expect(line.fixed).toBeCloseTo(fixed, 10)
  expect(line.slope).toBeCloseTo(slope, 10)
})

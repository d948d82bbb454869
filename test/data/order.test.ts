import { join } from "node:path"
import { expect, test } from "vitest"
import { epochOrder, rowsPerEpoch, runOrder } from "../../src/data/order.ts"
import { writeOrder } from "../../src/data/order-file.ts"
import { openSafetensors } from "../../src/formats/safetensors-files.ts"
import { fc } from "../seeded-check.ts"
import { newFolder } from "./tiny-model.ts"

const source = (rows: number, weight = 1) => ({
  path: "x",
  rows,
  weight,
  dropped: 0,
  bad: 0,
  truncated: 0,
})
const manifestOf = (...sources: ReturnType<typeof source>[]) => ({ sources })

test("an epoch is each row once, in another order for each seed and epoch", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 200 }),
      fc.nat({ max: 1000 }),
      fc.nat({ max: 20 }),
      (rows, seed, epoch) => {
        const manifest = manifestOf(source(rows))
        const order = epochOrder({ manifest, seed, epoch })
        expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: rows }, (_, i) => i))
        expect(epochOrder({ manifest, seed, epoch })).toEqual(order)
      },
    ),
  )
  const manifest = manifestOf(source(100))
  const orders = [
    [0, 0],
    [0, 1],
    [1, 0],
  ].map(([seed, epoch]) => epochOrder({ manifest, seed: seed!, epoch: epoch! }).join())
  expect(new Set(orders).size).toBe(3)
})

test("the order of a seed does not change between versions", () => {
  expect([
    ...epochOrder({ manifest: manifestOf(source(8)), seed: 0, epoch: 0 }),
  ]).toMatchInlineSnapshot(`
    [
      7,
      3,
      5,
      1,
      4,
      2,
      6,
      0,
    ]
  `)
})

test("weights repeat whole rows, and a part of them, anew each epoch", () => {
  const manifest = manifestOf(source(10, 2.5), source(4, 0), source(6, 0.5))
  expect(rowsPerEpoch(manifest)).toBe(25 + 0 + 3)
  const counted = (epoch: number) => {
    const counts = new Array<number>(20).fill(0)
    for (const row of epochOrder({ manifest, seed: 3, epoch })) counts[row]!++
    return counts
  }
  const first = counted(0)
  expect(first.slice(0, 10).toSorted()).toEqual([2, 2, 2, 2, 2, 3, 3, 3, 3, 3])
  expect(first.slice(10, 14)).toEqual([0, 0, 0, 0])
  expect(first.slice(14).toSorted()).toEqual([0, 0, 0, 1, 1, 1])
  expect([1, 2, 3, 4].map((epoch) => counted(epoch).join())).not.toEqual(
    Array(4).fill(first.join()),
  )
})

test("steps run over the ends of epochs and leave nothing out", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 50 }),
      fc.integer({ min: 1, max: 4 }),
      (rows, batchSize, epochs) => {
        const manifest = manifestOf(source(rows))
        const order = runOrder({ manifest, seed: 1, batchSize, epochs, maxSteps: null })
        const taken = Array.from({ length: order.steps }, (_, step) => [...order.stepRows(step)])
        const expected = Array.from({ length: epochs }, (_, epoch) => [
          ...epochOrder({ manifest, seed: 1, epoch }),
        ])
        expect(taken.flat()).toEqual(expected.flat())
        expect(order.epochAt(order.steps)).toBe(epochs)
        // any step can be asked for first: a resumed run sees the same rows
        const late = runOrder({ manifest, seed: 1, batchSize, epochs, maxSteps: null })
        expect([...late.stepRows(order.steps - 1)]).toEqual(taken.at(-1))
      },
    ),
  )
})

test("max_steps makes that many full steps", () => {
  const order = runOrder({
    manifest: manifestOf(source(5)),
    seed: 0,
    batchSize: 4,
    epochs: null,
    maxSteps: 7,
  })
  expect(order.steps).toBe(7)
  expect(order.stepRows(6).length).toBe(4)
})

test("order.safetensors holds every step", async () => {
  const order = runOrder({
    manifest: manifestOf(source(5)),
    seed: 0,
    batchSize: 4,
    epochs: 2,
    maxSteps: null,
  })
  const dir = newFolder()
  expect(await writeOrder(dir, order)).toBe(join(dir, "order.safetensors"))
  const reader = await openSafetensors(join(dir, "order.safetensors"))
  const rows = new Int32Array((await reader.read("order")).buffer)
  const offsets = new BigInt64Array((await reader.read("step_offsets")).buffer)
  await reader.close()
  expect([...offsets]).toEqual([0n, 4n, 8n, 10n])
  expect([...rows]).toEqual([0, 1, 2].flatMap((step) => [...order.stepRows(step)]))
})

import { expect, test } from "vitest"
import { heldOut } from "../../src/data/held-out.ts"
import { overlapLints } from "../../src/data/overlap.ts"
import { prepareData } from "../../src/data/prepare.ts"
import { openPrepared } from "../../src/data/prepared.ts"
import { newFolder, rowFile, tinyModel } from "./tiny-model.ts"

const tokenizer = tinyModel()
const cache = newFolder()
/** Two rows a prompt, in two files. */
const rows = Array.from({ length: 100 }, (_, i) => ({
  prompt: `q${i >> 1}`,
  completion: `a${i}`,
  times: (i % 3) + 1,
}))
const sources = [rows.slice(0, 70), rows.slice(70)].map((part) => ({
  path: rowFile(part),
  weight: 1,
}))
const all = () =>
  prepareData({ sources, tokenizer, cache, workers: 0, columns: { row_weight: "times" } })

async function texts(dir: string): Promise<string[]> {
  const prepared = await openPrepared(dir)
  const found = Array.from({ length: prepared.rows }, (_, i) => {
    const { tokenIds, lossMask, weight } = prepared.row(i)
    return JSON.stringify([prepared.place(i), [...tokenIds], [...lossMask], weight])
  })
  prepared.close()
  return found
}

test.each([
  [0.1, 10],
  [0.25, 24],
  [20, 20],
  [1, 2],
])("eval_split %j holds %j rows out, whole prompts of them", async (split, count) => {
  const whole = await all()
  const { train, held } = await heldOut(whole, { split, seed: 7 })
  expect(Math.abs(held.manifest.rows - count)).toBeLessThanOrEqual(1)
  expect(train.manifest.rows + held.manifest.rows).toBe(100)
  expect(train.manifest.tokens + held.manifest.tokens).toBe(whole.manifest.tokens)
  expect(train.manifest.supervised_tokens + held.manifest.supervised_tokens).toBe(
    whole.manifest.supervised_tokens,
  )
  const [inTrain, inHeld] = [await texts(train.dir), await texts(held.dir)]
  expect([...inTrain, ...inHeld].sort()).toEqual((await texts(whole.dir)).sort())
  expect(await overlapLints({ train: train.dir, evals: [held.dir] })).toEqual([])
})

test("the seed chooses, the same rows each time; the folders are kept", async () => {
  const whole = await all()
  const first = await heldOut(whole, { split: 10, seed: 1 })
  const again = await heldOut(whole, { split: 10, seed: 1 })
  expect(again.held.manifest).toEqual(first.held.manifest)
  expect([again.train.fromCache, again.held.fromCache]).toEqual([true, true])
  const other = await heldOut(whole, { split: 10, seed: 2 })
  expect(await texts(other.held.dir)).not.toEqual(await texts(first.held.dir))
})

test("a split that leaves nothing on a side is refused", async () => {
  const whole = await all()
  await expect(heldOut(whole, { split: 100, seed: 1 })).rejects.toThrow(
    /data\.eval_split: 100 of 100 rows \(50 prompts\) leaves none to train/,
  )
  await expect(heldOut(whole, { split: 0.001, seed: 1 })).rejects.toThrow(/none to hold out/)
})

import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import { inspected } from "../../src/evaluate/token-inspection.ts"
import { endEvent, startEvent, stepEvent } from "./run-events.ts"
import { ask, newFolder, serving } from "./serving.ts"
import { writeCheckpoint, writeTokenRun } from "./token-run.ts"

interface Golden {
  readonly text: string
  readonly token_ids: number[]
  readonly checkpoints: readonly {
    readonly step: number
    readonly power: number
    readonly p: number[]
    readonly rank: number[]
    readonly entropy: number[]
    readonly alternatives: number[][]
    readonly alternatives_p: number[][]
  }[]
}
const golden: Golden = JSON.parse(
  readFileSync(new URL("../../golden/token-microscope.json", import.meta.url), "utf8"),
)

process.env.DFTUNE_CACHE = mkdtempSync(join(tmpdir(), "dftune-microscope-"))
const chat = (question: string, answer: string) => ({
  messages: [
    { role: "user", content: question },
    { role: "assistant", content: answer },
  ],
})
const dir = newFolder()
const rows = [chat("calc 17 + 25", "17 + 25 = 42\nThe answer is 42."), chat("calc 1 + 1", "QQ zz")]
const events = [{ ...startEvent, steps: 4 }, stepEvent(3), endEvent(3)]
const run = writeTokenRun(dir, "one", { rows, events, evalRows: rows.slice(1) })
for (const { step, power } of golden.checkpoints) writeCheckpoint(run, step, power)
const served = await serving({ dir, models: [], open: { threads: 1 } })

async function told(path: string, body: object, { port, token } = served) {
  const answer = await ask(port, `/api/runs/one/${path}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  })
  return { status: answer.status, ...JSON.parse(answer.text) }
}

test("the rows are those that the run trains on", async () => {
  expect(await told("row-sets", {})).toMatchObject({
    sets: [
      { name: "train", rows: 2 },
      { name: "eval 0", rows: 1 },
    ],
    objective: "dft",
  })
  const { sides } = await told("row", { set: "train", index: 0 })
  expect(sides[0].tokens.join("")).toBe(golden.text)
  expect(sides[0].place).toMatch(/train\.jsonl:1$/)
  expect(sides[0].mask.lastIndexOf(0)).toBe(sides[0].tokens.indexOf("<|assistant|>"))
})

test.each(golden.checkpoints)(
  "p, rank, entropy and alternatives at step $step are Transformers' to 1e-4",
  async ({ step, p, rank, entropy, alternatives_p }) => {
    const found = await told("tokens", { set: "train", index: 0, at: step })
    const close = (a: number[], b: number[]) => {
      expect(a.length).toBe(b.length)
      for (const [i, value] of b.entries()) expect(Math.abs(a[i]! - value)).toBeLessThan(1e-4)
    }
    close(found.p, p)
    close(found.entropy, entropy)
    expect(found.rank).toEqual(rank)
    for (const [i, of] of found.alternatives.entries()) {
      close(
        of.map((one: { p: number }) => one.p),
        alternatives_p[i]!,
      )
    }
    // DFT's weight is the probability itself, of what is trained
    const { sides } = await told("row", { set: "train", index: 0 })
    const trained = sides[0].mask.slice(1)
    expect(found.weight.map((w: number | null) => w !== null)).toEqual(
      trained.map((m: number) => m === 1),
    )
    close(
      found.weight.filter((w: number | null) => w !== null),
      p.filter((_, i) => trained[i] === 1),
    )
  },
)

test("alternatives are the likeliest tokens, in order", () => {
  const { step, alternatives } = golden.checkpoints[1]!
  const logits = Float32Array.of(0, 2, -1, 2, 1, 0.5)
  const found = inspected(logits, 4)
  expect(found.alternatives.map(({ tokenId }) => tokenId)).toEqual([1, 3, 4, 5, 0])
  expect(found.rank).toBe(3)
  expect([step, alternatives[0]!.length]).toEqual([2, 5])
})

test("what was computed is kept, also of a checkpoint that is gone; another one of that step is looked at", async () => {
  const before = await told("tokens", { set: "train", index: 0, at: 2 })
  rmSync(join(run, "checkpoints/step-000002"), { recursive: true })
  expect(await told("tokens", { set: "train", index: 0, at: 2 })).toEqual(before)
  expect((await told("tokens", { set: "train", index: 1, at: 2 })).status).toBe(404)
  writeCheckpoint(run, 2, 1)
  const other = await told("tokens", { set: "train", index: 0, at: 2 })
  expect(other.p).not.toEqual(before.p)
})

test("the tokens that DFT abandons, by row and by token", async () => {
  const { rows, tokens } = await told("abandoned", { set: "train", rows: 64, at: 1 })
  expect(rows[0].place).toMatch(/train\.jsonl:2$/)
  expect(rows[0].abandoned).toBeGreaterThan(0)
  expect(rows[0].share).toBeGreaterThan(0.9)
  expect(rows[1].share).toBeLessThan(rows[0].share)
  const kinds = rows.reduce((sum: number, row: { abandoned: number }) => sum + row.abandoned, 0)
  expect(tokens.reduce((sum: number, kind: { abandoned: number }) => sum + kind.abandoned, 0)).toBe(
    kinds,
  )
  expect(tokens[0].mean_weight).toBeCloseTo(tokens[0].mean_p, 12)
})

test("what is not there is refused by name; --read-only keeps nothing", async () => {
  const asked = { set: "train", index: 0, at: 1 }
  expect(await told("tokens", { ...asked, set: "other" })).toMatchObject({ status: 404 })
  expect(await told("tokens", { ...asked, index: 2 })).toMatchObject({ status: 404 })
  expect(await told("tokens", { ...asked, at: "../../x" })).toMatchObject({ status: 400 })
  expect(await told("tokens", { ...asked, at: 7 })).toMatchObject({ status: 404 })
  expect(await told("tokens", { ...asked, side: 1 })).toMatchObject({ status: 404 })
  rmSync(join(run, "page"), { recursive: true })
  const quiet = await serving({ dir, models: [], open: { threads: 1 }, readOnly: true })
  expect((await told("tokens", asked, quiet)).p.length).toBe(golden.token_ids.length - 1)
  expect(() => readFileSync(join(run, "page/summary.json"))).toThrow()
})

import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import { mcnemar } from "../../src/evaluate/item-comparison.ts"
import { MCNEMAR_P, writeEvaluations } from "./evaluations.ts"
import { startEvent } from "./run-events.ts"
import { ask, newFolder, serving } from "./serving.ts"
import { writeTokenRun } from "./token-run.ts"

process.env.DFTUNE_CACHE = mkdtempSync(join(tmpdir(), "dftune-compare-"))
const dir = newFolder()
writeEvaluations(dir)
const row = (question: string, answer: string) => ({ problem: question, solution: answer })
const rows = [row("1 + 1", "2"), row("2 + 2", "4"), row("1 + 1", "2"), row("5 + 5", "10")]
writeTokenRun(dir, "one", { rows, events: [startEvent], evalRows: [row("2 + 2", "four")] })
const pairs = [
  { prompt: "say hi", chosen: "hi", rejected: "no" },
  { prompt: "say ho", chosen: "ho", rejected: "no no" },
]
writeTokenRun(dir, "pairs", { rows: pairs, events: [startEvent], objective: "dpo" })
const { port, token } = await serving({ dir, models: [] })

async function told(path: string, body?: object) {
  const answer = await ask(port, path, {
    method: body ? "POST" : "GET",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    ...(body ? { body: JSON.stringify(body) } : {}),
  })
  return { status: answer.status, ...JSON.parse(answer.text) }
}

test("McNemar's exact p", () => {
  expect(mcnemar(1, 7)).toBeCloseTo(MCNEMAR_P, 12)
  expect(mcnemar(7, 1)).toBeCloseTo(MCNEMAR_P, 12)
  expect([mcnemar(0, 0), mcnemar(4, 4)]).toEqual([1, 1])
  expect(mcnemar(900, 1000)).toBeCloseTo(0.0231, 3) // normal approximation with continuity: 0.0231
})

test("evaluations in the folder, and two of them item by item", async () => {
  const { evaluations } = await told("/api/evaluations")
  expect(evaluations.map((one: { name: string }) => one.name).sort()).toEqual([
    "evals/first",
    "evals/second",
  ])
  const asked = { a: "evals/first", b: "evals/second", suite: "sums" }
  const found = await told("/api/evaluations/compare", asked)
  expect(found).toMatchObject({ both: 1, only_a: 1, only_b: 7, neither: 1 })
  expect(found.mcnemar_p).toBeCloseTo(MCNEMAR_P, 12)
  expect(found.items[7]).toEqual({
    ...{ id: "p7", prompt: "what is 7 + 1?", gold: "8", right: [1, 0], samples: [1, 1] },
    answers: ["first says 8", "second says no"],
  })
  for (const wrong of [{ a: "../first" }, { b: "/etc" }, { a: "one" }]) {
    expect((await told("/api/evaluations/compare", { ...asked, ...wrong })).status).toBe(404)
  }
  expect((await told("/api/evaluations/compare", { ...asked, suite: "../../x" })).status).toBe(400)
})

test("an evaluation whose suite names a path is none", async () => {
  const folder = join(dir, "evals/hostile")
  mkdirSync(folder)
  writeFileSync(join(folder, "eval.json"), '[{"suite": "../first/sums"}]')
  const { evaluations } = await told("/api/evaluations")
  expect(evaluations.find((one: { name: string }) => one.name === "evals/hostile").suites).toEqual(
    [],
  )
})

test("which row is duplicated, which overlaps with the evaluation, and each with its mask", async () => {
  const data = await told("/api/runs/one/data", { set: "train", from: 0, count: 10 })
  expect(data).toMatchObject({ rows: 4, purpose: "supervised" })
  expect(data.duplicates).toHaveLength(1)
  expect(data.duplicates[0]).toMatchObject({ rows: 2, indices: [0, 2] })
  const codes = data.lints.map(({ code }: { code: string }) => code)
  expect(codes).toEqual(expect.arrayContaining(["duplicate-rows", "eval-overlap"]))
  const overlap = data.lints.find(({ code }: { code: string }) => code === "eval-overlap")
  expect(overlap.examples.join()).toMatch(/train\.jsonl:2$/)
  expect(data.lengths.reduce((sum: number, bin: { rows: number }) => sum + bin.rows, 0)).toBe(4)
  const [{ sides }] = data.page
  const trained = sides[0].tokens.filter((_: string, i: number) => sides[0].mask[i] === 1).join("")
  expect(trained).toBe("2<|end|>")
  const last = await told("/api/runs/one/data", { set: "train", from: 3, count: 10 })
  expect(last.page.map(({ index }: { index: number }) => index)).toEqual([3])
  expect((await told("/api/runs/one/data", { set: "train", from: 9, count: 1 })).status).toBe(404)
})

test("pairs have two sides", async () => {
  const { page, purpose } = await told("/api/runs/pairs/data", { set: "train", from: 0, count: 10 })
  expect(purpose).toBe("preference")
  const texts = page.map(({ sides }: { sides: { tokens: string[]; mask: number[] }[] }) =>
    sides.map(({ tokens, mask }) => tokens.filter((_, i) => mask[i] === 1).join("")),
  )
  expect(texts).toEqual([
    ["hi<|endoftext|>", "no<|endoftext|>"],
    ["ho<|endoftext|>", "no no<|endoftext|>"],
  ])
})

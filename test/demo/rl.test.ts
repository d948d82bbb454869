import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, expect, test } from "vitest"
import { type RlDemoResult, type RlScore, runRlDemo } from "../../src/demo/rl.ts"
import { rlConclusions, rlPage, rlText } from "../../src/demo/rl-page.ts"

const folder = mkdtempSync(join(tmpdir(), "dftune-rl-demo-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test("short sums with solutions, long ones with answers alone: all from one start, asked the same", async () => {
  const result = await runRlDemo({
    model: fileURLToPath(new URL("../../demo/model", import.meta.url)),
    folder,
    seeds: 1,
    arms: ["dft-short", "grpo"],
    questions: 4,
    trainRows: 32,
    steps: { supervised: 1, grpo: 1 },
  })
  // 3 sets, 2 temperatures, 3 models
  expect(result.scores).toHaveLength(18)
  for (const { ci95, score } of result.scores) {
    expect(ci95[0]).toBeLessThanOrEqual(score)
    expect(ci95[1]).toBeGreaterThanOrEqual(score)
  }
  const supervised = readFileSync(join(folder, "data", "answers.jsonl"), "utf8")
  const prompts = readFileSync(join(folder, "data", "prompts.jsonl"), "utf8")
  const solutions = readFileSync(join(folder, "data", "solutions.jsonl"), "utf8")
  // no long solution is shown to anybody, and no question is asked that was trained
  expect(supervised).toMatch(/"assistant","content":"The answer is \d+\."/)
  expect(prompts).not.toMatch(/assistant/)
  // solutions are of two or three steps, the rest asks for four
  const steps = (text: string) =>
    text
      .trim()
      .split("\n")
      .map((row) => row.match(/makes/g)?.length)
  expect(new Set(steps(solutions))).toEqual(new Set([2, 3]))
  for (const { questions } of result.sets)
    for (const { prompt } of questions) expect(prompts + solutions).not.toContain(prompt)
  expect(existsSync(join(folder, "grpo-1", "model", "model.safetensors"))).toBe(true)
  const page = rlPage(result, rlConclusions(result))
  expect(page).toContain("Percent right")
  expect(page.match(/SFT short/g)!.length).toBeGreaterThanOrEqual(2) // of all, and of each run
  expect(page).toContain("default-src 'none'")
  expect(page).not.toMatch(/<link|<img|<script[^>]*\ssrc=|@import/)
}, 60_000)

function madeUp(grpo: number, greedy = grpo): RlDemoResult {
  const score = (model: RlScore["model"], set: string, right: number, cold = right): RlScore[] =>
    ([right, cold] as const).map((share, i) => ({
      ...{ set, model, temperature: i === 0 ? 1 : 0, score: share / 100, ci95: [0, 1] },
      ...{ perSeed: [], problems: 100 },
      outcomes: Array.from({ length: 100 }, (_, k) => [k < share]),
    }))
  const names = ["4 steps", "2 or 3 steps", "5 steps"]
  return {
    settings: { seeds: 1, questions: 100 } as RlDemoResult["settings"],
    sets: names.map((name) => ({ name, about: "", questions: [] })),
    runs: [],
    scores: names.flatMap((set) => [
      ...(["base", "sft-short", "dft-short", "sft-long", "dft-long"] as const).flatMap((model) =>
        score(model, set, 40),
      ),
      ...score("grpo", set, grpo, greedy),
    ]),
    seconds: 1,
  }
}

test("a difference within noise is not claimed, and one against GRPO is said", () => {
  expect(rlConclusions(madeUp(80))[0]).toMatch(/GRPO is 40 points better than the base/)
  expect(rlConclusions(madeUp(10))[0]).toMatch(
    /30 points worse than the base.*worse than SFT on the short sums/,
  )
  expect(rlConclusions(madeUp(40))[0]).toMatch(/no different from the base beyond noise/)
  // what is gained at T = 1 and lost greedily is both said
  expect(rlConclusions(madeUp(80, 10))[1]).toMatch(
    /T = 1: GRPO is 40 points better than the base.*Greedy: 30 points worse than the base/,
  )
  expect(rlText(madeUp(80))).toMatch(/4 steps, T = 1 +40 ±\d+ .* 80/)
})

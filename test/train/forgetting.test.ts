import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import type { EvalEvent, RunEvent } from "../../src/run/events.ts"
import { readRun } from "../../src/run/run-folder.ts"
import { runHere } from "../../src/train/run.ts"
import { stepsOf, tinyRollouts, withoutTime } from "./rollouts/tiny-rollouts.ts"
import { sumRows } from "./tiny-model.ts"

const { root, run, settings } = tinyRollouts()
afterAll(() => rmSync(root, { recursive: true, force: true }))

const texts = join(root, "texts.jsonl")
writeFileSync(texts, '{"text":"some words that nobody trains"}\n{"text":"and more of them."}\n')
const check = { texts, prompts: 4, max_new_tokens: 8 }
sumRows(root, 12)
/** A run on rows, which samples nothing. */
async function supervised(name: string, more: object = {}) {
  const { rollout: _, ...given } = settings(name, {
    ...{ objective: "sft", batch_size: 4, max_steps: 4, eval_steps: 2, learning_rate: 2e-2 },
    data: { train: [join(root, "sums.jsonl")], max_length: 64 },
    ...more,
  })
  for await (const _event of runHere(parseConfig(given)));
  return readRun(join(root, name)).events
}
const of = (events: readonly RunEvent[], name: string) =>
  events.filter(
    (event): event is EvalEvent => event.type === "eval" && event.name === `forgetting/${name}`,
  )

test("a supervised run tells what it forgets: nothing at its start, more and more after it", async () => {
  const events = await supervised("sft", { forgetting: check })
  for (const name of ["texts", "answers"]) {
    const told = of(events, name)
    expect(told.map(({ step }) => step)).toEqual([0, 2, 4])
    expect(told[0]!.nll_rise).toBe(0)
    expect(told[2]!.nll_rise).toBeCloseTo(told[2]!.nll! - told[0]!.nll!, 9)
    expect(told[2]!.nll_rise).not.toBe(0)
  }
  // greedy answers are what the model finds likeliest
  expect(of(events, "answers")[2]!.nll_rise).toBeGreaterThan(0)
  const kept = JSON.parse(readFileSync(join(root, "sft", "forgetting.json"), "utf8")).kept
  expect(kept).toHaveLength(4)
  expect(kept[0].answer.length).toBeGreaterThan(0)
})

test("it changes nothing of the run", async () => {
  const plain = await supervised("plain")
  const checked = await supervised("checked", { forgetting: check })
  expect(stepsOf(checked).map(({ loss }) => loss)).toEqual(stepsOf(plain).map(({ loss }) => loss))
  expect(existsSync(join(root, "plain", "forgetting.json"))).toBe(false)
})

test("a resumed run goes on from how the whole one began", async () => {
  const more = { max_steps: 4, save_steps: 1, eval_steps: 3, forgetting: check }
  const whole = await run("whole", more)
  expect(of(whole, "answers")).toHaveLength(3)
  const stop = new AbortController()
  const onEvent = ({ type, step }: { type: string; step: number }) =>
    type === "step" && step === 2 && stop.abort()
  await run("stopped", more, onEvent, stop.signal)
  expect(withoutTime(await run("stopped", { ...more, resume: true }))).toEqual(withoutTime(whole))
})

test("pass@k of the eval prompts, before and after", async () => {
  writeFileSync(
    join(root, "seven.mjs"),
    "export default ({ completion }) => (completion.includes('7') ? 1 : 0)\n",
  )
  const rewards = [{ module: join(root, "seven.mjs") }]
  const data = { train: [join(root, "prompts.jsonl")], eval: [join(root, "prompts.jsonl")] }
  const rollout = { rewards, eval_samples: 6, max_new_tokens: 12, filter_groups: "none" }
  const more = { max_steps: 3, data: { ...data, max_length: 64 }, rollout }
  const scores = (await run("passes", more)).filter((event) => event.type === "eval")
  expect(scores.map(({ step }) => step)).toEqual([0, 3])
  for (const { pass_at, score, n } of scores) {
    expect(Object.keys(pass_at!)).toEqual(["1", "2", "4", "6"])
    expect(pass_at!["1"]).toBeCloseTo(score!, 9)
    expect(pass_at!["6"]).toBeGreaterThanOrEqual(pass_at!["1"]!)
    expect(n).toBe(6)
  }
})

test("engine: torch says that it does not check", () => {
  const { rollout: _, ...plain } = settings("torch", { objective: "sft" })
  const given = { ...plain, engine: "torch", forgetting: {} }
  expect(() => parseConfig(given)).toThrow(/engine torch cannot honour forgetting/)
})

import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { rolloutFile } from "../../../src/train/rollouts/rollout-file.ts"
import { rolloutsOf, stepsOf, tinyRollouts, warningsOf } from "./tiny-rollouts.ts"

const { root, run } = tinyRollouts()
afterAll(() => rmSync(root, { recursive: true, force: true }))

function file(name: string, text: string): string {
  const path = join(root, name)
  writeFileSync(path, text)
  return path
}

const rewards = (name: string, body: string) => ({
  rewards: [{ module: file(`${name}.mjs`, `export default (sample) => ${body}`) }],
})

test("a run that never had anything to learn fails and says what it saw", async () => {
  const rollout = rewards("same", "0.5")
  await expect(run("never", { rollout })).rejects.toThrow(
    /zero-variance: in each of the first 5 rollouts .*prompts.jsonl:\d answered .*reward 0.5.*easier or harder prompts/,
  )
})

test("a run none of whose samples could be judged says so, not that rewards were equal", async () => {
  await expect(run("unscored", { rollout: rewards("unscored", "null") })).rejects.toThrow(
    /^unscored: 5 rollouts .* no reward could judge any sample: .*each gave null/,
  )
})

test("a reward module that does not load ends the run before anything is sampled", async () => {
  const rollout = { rewards: [{ module: file("no-function.mjs", "export const other = 1\n") }] }
  const told: string[] = []
  const started = run("no-function", { rollout }, ({ type }) => told.push(type))
  await expect(started).rejects.toThrow(/expected an exported function, the module exports other/)
  expect(told).not.toContain("rollout")
})

test("a run that goes on cuts off the samples that it makes again, and nothing before them", () => {
  const line = (rollout: number, more = "") => `${JSON.stringify({ completion: more, rollout })}\n`
  const long = "x".repeat(2_500_000) // more than is read at once
  const kept = `${line(0)}${line(0, long)}{"damaged": \n${line(1, "é\u2028")}`
  const path = file("rollouts.jsonl", `${kept}${line(2)}${line(3, long)}{"completion": "torn`)
  const write = rolloutFile({ folder: root, keep: "all", prompts: [], next: 2 })
  expect(readFileSync(path, "utf8") === kept).toBe(true)
  write({ number: 2, policyStep: 0, samples: [] })
  expect(readFileSync(path, "utf8") === kept).toBe(true)
  rolloutFile({ folder: root, keep: "all", prompts: [], next: 0 })
  expect(readFileSync(path, "utf8")).toBe("")
})

test("what was told before a failure is in the folder", async () => {
  const events = readFileSync(join(root, "never", "events.jsonl"), "utf8")
  expect(events.match(/"type":"rollout"/g)).toHaveLength(5)
  expect(events).not.toContain('"type":"step"')
  expect(events).toMatch(/"type":"run.end".*"reason":"failed"/)
})

test("three rollouts without an end stop a run in which nothing ever ended", async () => {
  const rollout = { max_new_tokens: 1, ...rewards("first", "sample.token_ids[0] % 7") }
  await expect(run("endless", { rollout })).rejects.toThrow(
    /no-eos: none of 8 samples ended within rollout.max_new_tokens 1; looked for "<\/s>"; the last tokens were .*3 rollouts in a row since the start/,
  )
})

test("a reward that is no number names the function, the prompt and the completion", async () => {
  const rollout = rewards("nan", "sample.completion.length / 0")
  await expect(run("nan", { rollout })).rejects.toThrow(
    /prompts.jsonl:\d: the reward nan.mjs gave (Infinity|NaN) for the completion "/,
  )
})

test("prompts without a gold answer are refused before anything is sampled", async () => {
  const path = file("bare.jsonl", '{"prompt":"1 + 1? ","answer":"2"}\n{"prompt":"2 + 2? "}\n')
  const data = { train: [path], max_length: 64 }
  await expect(run("bare", { data, rollout: { rewards: ["math"] } })).rejects.toThrow(
    /bare.jsonl:2: the reward math needs a gold answer \(answer, gold, .*the row has prompt/,
  )
  expect(existsSync(join(root, "bare", "events.jsonl"))).toBe(false)
})

test("a prompt that leaves no room is left out and counted; one past the context is refused", async () => {
  const long = "1 + ".repeat(20)
  const path = file("long.jsonl", `{"prompt":"1 + 1? "}\n{"prompt":"${long}"}\n`)
  const data = { train: [path], max_length: 40 }
  const events = await run("long", { data, max_steps: 1 })
  expect(warningsOf(events).find(({ code }) => code === "long-prompts")!.message).toMatch(
    /1 of 2 prompts are left out.*long.jsonl:2/,
  )
  const wide = { train: [path], max_length: 4096 }
  await expect(
    run("wide", { data: wide, micro_batch_tokens: "auto", rollout: { max_new_tokens: 4000 } }),
  ).rejects.toThrow(
    /long.jsonl:1: the prompt's \d+ tokens and rollout.max_new_tokens 4000 are more than the model's context/,
  )
})

test("dropout is refused: it makes noise of the size of what is compared", async () => {
  await expect(run("dropout", { adapter: { lora_dropout: 0.1 } })).rejects.toThrow(
    /adapter.lora_dropout: 0.1 makes noise/,
  )
})

test("an adapter samples and learns; its reference is the base under it", async () => {
  const more = { adapter: { type: "lora", r: 4 }, objective: { name: "grpo", beta: 0.1 } }
  const events = await run("adapter", { ...more, max_steps: 4 })
  const steps = stepsOf(events)
  expect(steps[0]!.measures!.kl_estimate).toBeCloseTo(0, 5)
  expect(steps.at(-1)!.measures!.kl_estimate).toBeGreaterThan(1e-6)
  for (const one of rolloutsOf(events)) expect(one.logp_difference?.max ?? 0).toBeLessThan(1e-4)
})

test("samples cut at the limit are neither trained nor counted", async () => {
  const rollout = { mask_truncated_completions: true, max_new_tokens: 24, filter_groups: "none" }
  const events = await run("masked", { rollout, max_steps: 3 })
  const told = stepsOf(events)
  // a rollout of which nothing is left makes no step
  const rollouts = rolloutsOf(events).filter(({ trained }) => trained > 0)
  expect(rollouts).toHaveLength(told.length)
  rollouts.forEach((one, i) => {
    const ended = Math.round(one.sequences * (1 - one.truncated))
    const before = told[i - 1]?.supervised_tokens ?? 0
    expect(told[i]!.supervised_tokens - before).toBe(Math.round(ended * one.terminated_length.mean))
  })
})

test("a rollout whose samples are all masked makes no step", async () => {
  // one token: a sample ends at once, or is cut
  const rollout = {
    ...{ mask_truncated_completions: true, max_new_tokens: 4, filter_groups: "none" },
    ...rewards("masked", "sample.token_ids[0] % 7"),
  }
  const events = await run("all-masked", { rollout, max_steps: 2 })
  for (const one of rolloutsOf(events)) {
    expect(one.trained).toBe(Math.round(one.sequences * (1 - one.truncated)))
  }
  expect(rolloutsOf(events).some(({ trained }) => trained === 0)).toBe(true)
  const told = stepsOf(events).map(({ supervised_tokens }) => supervised_tokens)
  expect(told[0]).toBeGreaterThan(0)
  expect(told[1]).toBeGreaterThan(told[0]!)
})

test("eval prompts are answered greedily and scored", async () => {
  const data = { train: [join(root, "prompts.jsonl")], eval: [join(root, "prompts.jsonl")] }
  const more = { data: { ...data, max_length: 64 }, max_steps: 2, eval_steps: 1 }
  const scores = (await run("scored", more)).filter(({ type }) => type === "eval")
  expect(scores.map(({ step }) => step)).toEqual([0, 1, 2])
  for (const score of scores) expect(score).toMatchObject({ name: "prompts", n: 6 })
})

test("held-out prompts are asked and never trained", async () => {
  const data = { train: [join(root, "prompts.jsonl")], eval_split: 2, max_length: 64 }
  const events = await run("held", { data, max_steps: 6, rollout: { keep: "all" } })
  const scored = events.filter(({ type }) => type === "eval")
  expect(scored.at(-1)).toMatchObject({ name: "held-out", n: 2, step: 6 })
  const rows = readFileSync(join(root, "held", "rollouts.jsonl"), "utf8")
    .trim()
    .split("\n")
  expect(new Set(rows.map((line) => JSON.parse(line).prompt)).size).toBe(4)
  const all = { ...data, eval_split: 6 }
  await expect(run("none-left", { data: all })).rejects.toThrow(/6 holds out all 6 prompts/)
})

test("rollouts.jsonl holds every sample once, across a resume", async () => {
  const stopped = new AbortController()
  const more = { rollout: { keep: "all" }, max_steps: 5 }
  await run(
    "kept",
    more,
    (event) => event.type === "rollout" && event.rollout === 2 && stopped.abort(),
    stopped.signal,
  )
  await run("kept", { ...more, resume: true })
  await run("kept-whole", more)
  const rows = (name: string) => readFileSync(join(root, name, "rollouts.jsonl"), "utf8")
  expect(rows("kept")).toBe(rows("kept-whole"))
  const [first] = rows("kept").split("\n")
  expect(JSON.parse(first!)).toMatchObject({ rollout: 0, sample: 0, policy_step: 0, attempt: 0 })
})

test("dynamic sampling asks other prompts until the groups differ", async () => {
  // the same for all samples of half of the prompts
  const rollout = rewards("half", "Number(sample.row.answer) % 4 === 0 ? 1 : sample.token_ids[0]")
  const events = await run("dynamic", { objective: "dapo", rollout, max_steps: 4 })
  const rollouts = rolloutsOf(events)
  expect(rollouts.some(({ resampled }) => resampled > 0)).toBe(true)
  for (const one of rollouts) {
    expect(one.trained).toBe(8)
    expect(one.prompts).toBe(2 + one.resampled)
  }
})

test("importance weights of the sampler that is trained are 1", async () => {
  const events = await run("weighed", { rollout: { importance: "token-truncate" }, max_steps: 2 })
  for (const { importance } of rolloutsOf(events)) {
    expect(importance).toMatchObject({ cut: 0 })
    expect(importance!.min).toBeCloseTo(1, 4)
    expect(importance!.max).toBeCloseTo(1, 4)
  }
})

test("a run whose reward has changed is not continued", async () => {
  const module = file("changes.mjs", "export default ({ token_ids }) => token_ids[0] % 5")
  const more = { rollout: { rewards: [{ module }] }, max_steps: 4, save_steps: 2 }
  const stopped = new AbortController()
  const stop = (event: { type: string; step: number }) =>
    event.type === "step" && event.step === 2 && stopped.abort()
  await run("changes", more, stop, stopped.signal)
  file("changes.mjs", "export default ({ token_ids }) => -(token_ids[0] % 5)")
  await expect(run("changes", { ...more, resume: true })).rejects.toThrow(
    /changes.mjs is another than then: its function rewards otherwise/,
  )
})

test("a module that is not there is named before anything is sampled", async () => {
  const rollout = { rewards: [{ module: "no-such-reward.ts" }] }
  await expect(run("gone", { rollout })).rejects.toThrow(/no-such-reward.ts: no such file/)
})

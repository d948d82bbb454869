import { readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { rolloutsOf, stepsOf, tinyRollouts, withoutTime } from "./tiny-rollouts.ts"

const { root, run } = tinyRollouts()
afterAll(() => rmSync(root, { recursive: true, force: true }))

const ANSWERS = Array.from({ length: 6 }, (_, i) => `${i} + ${i} = ${2 * i}.`)
const rows = ANSWERS.map((completion, i) => JSON.stringify({ prompt: `${i} + ${i}? `, completion }))
writeFileSync(join(root, "shown.jsonl"), `${rows.join("\n")}\n`)
const data = { train: [join(root, "shown.jsonl")], max_length: 64 }
const rollout = { max_new_tokens: 16, keep: "all" }
const more = { objective: "prefix-rft", data, rollout, max_steps: 10, learning_rate: 5e-3 }

test("ten steps: one sample of four goes on from a demonstration, the share falls", async () => {
  const events = await run("prefix", more)
  const steps = stepsOf(events)
  expect(steps).toHaveLength(10)
  for (const { loss, grad_norm, measures } of steps) {
    expect(Number.isFinite(loss + grad_norm)).toBe(true)
    expect(measures!.expert_share).toBeGreaterThan(0)
    expect(measures!.expert_share).toBeLessThan(1)
    expect(Number.isFinite(measures!.loss_expert! + measures!.loss_own!)).toBe(true)
  }
  for (const { logp_difference } of rolloutsOf(events)) {
    expect(logp_difference!.max).toBeLessThan(1e-4)
  }
  const told = readFileSync(join(root, "prefix", "rollouts.jsonl"), "utf8")
    .trim()
    .split("\n")
  const samples = told.map((line) => JSON.parse(line))
  const begun = samples.filter(({ prefix }) => prefix !== undefined)
  expect(begun.length).toBe(samples.length / 4)
  for (const { prefix, completion, token_ids, prompt, sample } of begun) {
    const answer = ANSWERS[Number(prompt[0])]!
    expect(sample).toBe(3)
    expect(completion.slice(0, prefix)).toBe(answer.slice(0, prefix))
    expect(token_ids.length).toBeGreaterThan(prefix)
    expect(token_ids.length).toBeLessThanOrEqual(16)
  }
  // from all but a token down to anything
  const lengths = begun.map(({ prefix }) => prefix as number)
  expect(Math.min(...lengths.slice(0, 2))).toBe(10)
  expect(Math.min(...lengths)).toBeLessThan(6)
})

test("without prefixes its steps are GRPO's, with its divisor and advantages", async () => {
  const grpo = { name: "grpo", normalization: "max_tokens" }
  const plain = await run("grpo", {
    ...{ ...more, objective: grpo, max_steps: 3 },
    rollout: { ...rollout, scale_rewards: "none" },
  })
  const without = { ...rollout, prefix: { samples: 0 } }
  const none = await run("none", { ...more, max_steps: 3, rollout: without })
  const [a, b] = [stepsOf(plain), stepsOf(none)]
  expect(a).toHaveLength(3)
  b.forEach(({ loss, grad_norm, measures }, i) => {
    expect(loss).toBeCloseTo(a[i]!.loss, 7)
    expect(grad_norm / a[i]!.grad_norm).toBeCloseTo(1, 5)
    expect(measures!.expert_share).toBe(0)
  })
})

test("a resumed run draws the same beginnings", async () => {
  const kept = { ...more, max_steps: 5, save_steps: 2 }
  const whole = await run("whole", kept)
  const stop = new AbortController()
  const onEvent = ({ type, step }: { type: string; step: number }) =>
    type === "step" && step === 3 && stop.abort()
  await run("stopped", kept, onEvent, stop.signal)
  const events = await run("stopped", { ...kept, resume: true })
  expect(withoutTime(events)).toEqual(withoutTime(whole))
})

test("a prompt without a demonstration is named", async () => {
  const bare = { train: [join(root, "prompts.jsonl")], max_length: 64 }
  await expect(run("bare", { ...more, data: bare })).rejects.toThrow(
    /prompts.jsonl:1: (expected a demonstration|.*completion)/,
  )
})

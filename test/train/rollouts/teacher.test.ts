import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { parseConfig } from "../../../src/config/index.ts"
import { planRun } from "../../../src/train/plan.ts"
import { tinyModel } from "../tiny-model.ts"
import {
  mean,
  rolloutsOf,
  stepsOf,
  tinyRollouts,
  warningsOf,
  withoutTime,
} from "./tiny-rollouts.ts"

const { root, run, settings } = tinyRollouts()
afterAll(() => rmSync(root, { recursive: true, force: true }))

const other = join(root, "other")
const teacher = tinyModel(other, "qwen2")
const model = join(root, "model-start")
const rollout = { rewards: [], max_new_tokens: 12 }
const gaps = (events: Parameters<typeof stepsOf>[0]) =>
  stepsOf(events).map(({ measures }) => measures!.teacher_gap!)

test("distill: what the policy says of its own samples comes nearer to the teacher", async () => {
  const events = await run("distill", { objective: "distill", teacher, rollout, max_steps: 12 })
  const all = gaps(events)
  expect(all).toHaveLength(12)
  expect(mean(all.slice(0, 4))).toBeGreaterThan(0.05)
  expect(mean(all.slice(-4))).toBeLessThan(0.8 * mean(all.slice(0, 4)))
  const [first] = rolloutsOf(events)
  expect(first).toMatchObject({ unscored: 8, zero_variance_groups: 1, rewards: {} })
  expect(warningsOf(events).map(({ code }) => code)).not.toContain("zero-variance")
})

test("a teacher that is the model itself moves nothing at first", async () => {
  const events = await run("same", { objective: "distill", teacher: model, rollout, max_steps: 1 })
  const [step] = stepsOf(events)
  expect(Math.abs(step!.measures!.teacher_gap!)).toBeLessThan(1e-5)
  expect(step!.grad_norm).toBeLessThan(1e-5)
})

test("over the whole vocabulary (beta): nearer to the teacher, at rest with itself, resumed to the same bits", async () => {
  const jsd = (events: Parameters<typeof stepsOf>[0]) =>
    stepsOf(events).map(({ measures }) => measures!.teacher_jsd!)
  const whole = { objective: { name: "distill", beta: 0.5 }, rollout, max_steps: 12, save_steps: 5 }
  const events = await run("jsd", { ...whole, teacher })
  const all = jsd(events)
  expect(all).toHaveLength(12)
  expect(all[0]).toBeGreaterThan(0)
  expect(mean(all.slice(-4))).toBeLessThan(0.8 * mean(all.slice(0, 4)))
  stepsOf(events).forEach(({ loss }, i) => {
    expect(loss).toBeCloseTo(all[i]!, 6)
  })
  const stop = new AbortController()
  const onEvent = ({ type, step }: { type: string; step: number }) =>
    type === "step" && step === 7 && stop.abort()
  await run("jsd-stopped", { ...whole, teacher }, onEvent, stop.signal)
  const resumed = await run("jsd-stopped", { ...whole, teacher, resume: true })
  expect(withoutTime(resumed)).toEqual(withoutTime(events))

  const own = { ...whole, teacher: model, max_steps: 1, adapter: { r: 4 } }
  const [step] = stepsOf(await run("jsd-same", own))
  expect(Math.abs(step!.loss)).toBeLessThan(1e-6)
  expect(step!.grad_norm).toBeLessThan(1e-5)
  const bounded = { ...whole, objective: { name: "distill", beta: 0.5, cap: 3 }, teacher }
  expect(() => parseConfig(settings("bounded", bounded))).toThrow(
    /objective.cap: bounds the sampled/,
  )
})

test("a teacher of the whole vocabulary is in the plan once", async () => {
  const plan = async (objective: object) =>
    (await planRun(parseConfig(settings("memory", { objective, teacher, rollout })))).memory.weights
  expect(await plan({ name: "distill", beta: 0.5 })).toBe(await plan({ name: "distill" }))
})

test("rewards may be told beside; they change nothing", async () => {
  const rewards = [{ module: join(root, "digits.mjs") }]
  const more = { objective: "distill", teacher, max_steps: 3 }
  const plain = await run("unrewarded", { ...more, rollout })
  const told = await run("rewarded", { ...more, rollout: { ...rollout, rewards } })
  expect(gaps(told)).toEqual(gaps(plain))
  expect(rolloutsOf(told)[0]!.rewards["digits.mjs"]).toBeDefined()
})

test("a teacher with other tokens is refused, and one that changed ends a resumed run", async () => {
  const odd = join(root, "odd")
  cpSync(teacher, odd, { recursive: true })
  const path = join(odd, "tokenizer.json")
  writeFileSync(path, readFileSync(path, "utf8").replace('"a":3', '"\u00e4":3'))
  const more = { objective: "distill", rollout, max_steps: 4, save_steps: 2 }
  await expect(run("odd-run", { ...more, teacher: odd })).rejects.toThrow(
    /teacher: .*odd: token 3 is "ä" there and "a" in the model/,
  )
  const changing = join(root, "changing")
  cpSync(teacher, changing, { recursive: true })
  const stop = new AbortController()
  const onEvent = ({ type, step }: { type: string; step: number }) =>
    type === "step" && step === 3 && stop.abort()
  await run("changing-run", { ...more, teacher: changing }, onEvent, stop.signal)
  cpSync(join(model, "model.safetensors"), join(changing, "model.safetensors"))
  cpSync(join(model, "config.json"), join(changing, "config.json"))
  await expect(run("changing-run", { ...more, teacher: changing, resume: true })).rejects.toThrow(
    /the teacher's weights are others/,
  )
})

const shown = Array.from({ length: 6 }, (_, i) =>
  JSON.stringify({ prompt: `${i} + ${i}? `, completion: `${2 * i}.` }),
)
writeFileSync(join(root, "shown.jsonl"), `${shown.join("\n")}\n`)
const data = { train: [join(root, "shown.jsonl")], max_length: 64 }

test.each([
  { teacher: { prompt: "{demonstration} {question}" } },
  { teacher: { prompt: "{demonstration} {question}", weights: "live" } },
  { teacher: { prompt: "{demonstration} {question}" }, adapter: { r: 4 } },
  { teacher: { prompt: "{demonstration} {question}", weights: "average", rate: 0.5 } },
])("self-distill: ten steps towards itself with the answer in its context, %j", async (more) => {
  const name = JSON.stringify(more).replace(/\W+/g, "-")
  const all = { objective: "self-distill", data, rollout, max_steps: 10, save_steps: 4, ...more }
  const events = await run(name, all)
  const steps = stepsOf(events)
  expect(steps).toHaveLength(10)
  expect(steps.every(({ loss, grad_norm }) => Number.isFinite(loss + grad_norm))).toBe(true)
  expect(steps[0]!.grad_norm).toBeGreaterThan(1e-4) // the answer in the context changes something
  if (!("adapter" in more) && more.teacher.weights !== "average") return
  const stop = new AbortController()
  const onEvent = ({ type, step }: { type: string; step: number }) =>
    type === "step" && step === 6 && stop.abort()
  await run(`${name}-stopped`, all, onEvent, stop.signal)
  const resumed = await run(`${name}-stopped`, { ...all, resume: true })
  expect(withoutTime(resumed)).toEqual(withoutTime(events))
})

test("the teacher reads the question and the answer as the config lays them out", async () => {
  const prompt = "{demonstration}#{question}"
  const more = { objective: "self-distill", data, rollout, teacher: { prompt } }
  const { rollout: planned } = await planRun(parseConfig(settings("plan", more)))
  const { tokenizer, prompts } = planned!
  const { shown: ids, tokenIds } = prompts[3]!
  expect(tokenizer.decode([...ids!], { skipSpecialTokens: true })).toBe("6.#3 + 3? ")
  expect(tokenizer.decode([...tokenIds], { skipSpecialTokens: true })).toBe("3 + 3? ")
})

test("an average that moves all the way is the live teacher; one that stays is the start", async () => {
  const prompt = "{demonstration} {question}"
  const all = (teacher: object) => {
    return {
      objective: "self-distill",
      data,
      rollout,
      max_steps: 4,
      teacher: { prompt, ...teacher },
    }
  }
  const live = await run("live", all({ weights: "live" }))
  const whole = await run("whole-way", all({ weights: "average", rate: 1 }))
  // the teacher of a rollout is what it followed after the one before: a step behind the live one
  expect(gaps(whole)[0]).toBe(gaps(live)[0])
  expect(gaps(whole)).not.toEqual(gaps(live))
  const start = await run("start", all({}))
  const still = await run("still", all({ weights: "average", rate: 1e-12 }))
  gaps(still).forEach((gap, i) => {
    expect(gap).toBeCloseTo(gaps(start)[i]!, 4)
  })
  expect(() => parseConfig(settings("rate", all({ rate: 0.1 })))).toThrow(
    /teacher.rate: 0.1: only weights: average follows the model/,
  )
})

test("the memory that is planned has the models beside the policy", async () => {
  const planned = async (more: object) =>
    (await planRun(parseConfig(settings("memory", { data, rollout, ...more })))).memory.weights
  const prompt = "{demonstration} {question}"
  const itself = (weights: string) => ({ objective: "self-distill", teacher: { prompt, weights } })
  const live = await planned(itself("live"))
  expect(await planned(itself("start"))).toBe(2 * live)
  expect(await planned(itself("average"))).toBe(2 * live)
  const { bytes } = { bytes: readFileSync(join(teacher, "model.safetensors")).length }
  const distilled = await planned({ objective: "distill", teacher })
  expect((distilled - live) / bytes).toBeCloseTo(1, 1)
  const rewards = [{ module: join(root, "digits.mjs") }]
  const grpo = { rollout: { ...rollout, rewards } }
  expect(await planned({ ...grpo, objective: "grpo" })).toBe(live)
  expect(await planned({ ...grpo, objective: { name: "grpo", beta: 0.1 } })).toBe(2 * live)
  const adapter = { r: 4 }
  const small = await planned({ ...itself("live"), adapter })
  expect(await planned({ ...itself("start"), adapter })).toBe(small)
})

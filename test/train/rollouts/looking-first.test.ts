import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { check } from "../../../src/check/index.ts"
import { probeText } from "../../../src/commands/probe.ts"
import { parseConfig } from "../../../src/config/index.ts"
import type { PreviewExample } from "../../../src/data/preview-rows.ts"
import { planRun } from "../../../src/train/plan.ts"
import { probe } from "../../../src/train/probe.ts"
import { previewRollouts } from "../../../src/train/rollouts/preview-rollouts.ts"
import { type More, tinyRollouts } from "./tiny-rollouts.ts"

const { root, settings } = tinyRollouts()
afterAll(() => rmSync(root, { recursive: true, force: true }))
const modelFolder = join(root, "model-start")

async function previewed(more: More, isEval = false) {
  const shown: PreviewExample[] = []
  const found = await previewRollouts(parseConfig(settings("preview", more)), {
    ...{ modelFolder, isEval, examples: 2 },
    show: (example) => void shown.push(example),
  })
  return { found, shown }
}

test("preview shows the prompts' ids, none of them trained, and how a rollout is put together", async () => {
  const { found, shown } = await previewed({ batch_size: 8, rollout: { num_iterations: 2 } })
  expect(shown).toHaveLength(2)
  for (const { source, text, token_ids, tokens, loss_mask } of shown) {
    expect(source).toMatch(/prompts.jsonl:[12]$/)
    expect(text).toMatch(/what is \d \+ \d\? /)
    expect(tokens).toHaveLength(token_ids.length)
    expect(loss_mask).toEqual(token_ids.map(() => 0))
  }
  expect(found.prompts).toBe(6)
  expect(found.layout).toMatchObject({
    ...{ prompts: 2, num_generations: 4, sequences: 8, max_new_tokens: 8 },
    ...{ stops: ["</s>"], rewards: [["digits.mjs", 1]], batch_size: 8, steps: 2 },
    demonstrations: 0,
  })
})

test("a demonstration stands behind its prompt, as it is trained", async () => {
  writeFileSync(
    join(root, "shown.jsonl"),
    '{"prompt":"1 + 1? ","completion":"2","answer":"2"}\n{"prompt":"2 + 2? ","completion":"4"}\n',
  )
  const data = { train: [join(root, "shown.jsonl")], max_length: 64 }
  const { found, shown } = await previewed({ objective: "dft-rl", data })
  expect(found.layout.demonstrations).toBe(2)
  const [{ text, loss_mask, token_class }] = shown as [PreviewExample]
  expect(text).toContain("1 + 1? 2")
  expect(loss_mask.at(-1)).toBe(1) // the end of turn
  expect(token_class.at(-1)).toBe(1)
  expect(loss_mask[0]).toBe(0)
})

test("preview refuses what the run would refuse, before a weight is read", async () => {
  await expect(previewed({ rollout: { rewards: [{ module: "gone.ts" }] } })).rejects.toThrow(
    /gone.ts: no such file/,
  )
  writeFileSync(join(root, "bare.jsonl"), '{"prompt":"1 + 1? "}\n')
  const data = { train: [join(root, "bare.jsonl")], max_length: 64 }
  await expect(previewed({ data, rollout: { rewards: ["math"] } })).rejects.toThrow(
    /bare.jsonl:1: the reward math needs a gold answer/,
  )
})

test("a model that names no end of a sample is refused before anything is read", async () => {
  const endless = join(root, "endless-model")
  cpSync(modelFolder, endless, { recursive: true })
  for (const file of ["config.json", "tokenizer_config.json"]) {
    const {
      eos_token: _,
      eos_token_id: __,
      ...rest
    } = JSON.parse(readFileSync(join(endless, file), "utf8"))
    writeFileSync(join(endless, file), JSON.stringify(rest))
  }
  const plan = (more: More) =>
    planRun(parseConfig(settings("endless", { model: endless, ...more })))
  await expect(plan({})).rejects.toThrow(
    /endless-model: names no token that ends a sample \(eos_token_id in generation_config.json/,
  )
  expect((await plan({ rollout: { stop: ["\n"] } })).rollout!.stopIds.size).toBe(0)
})

test("probe samples some groups, tells the rewards' spread, and measures memory and time", async () => {
  const config = parseConfig(settings("probe", { max_steps: 30 }))
  const result = await probe(config)
  const { rollout, estimate, sources } = result
  expect(sources).toEqual([])
  expect(rollout).toMatchObject({ prompts: 2, sequences: 8, unscored: 0, policy_step: 0 })
  expect(rollout!.reward_std).toBeGreaterThan(0)
  expect(rollout!.logp_difference!.max).toBeLessThan(1e-4)
  expect(estimate!.steps).toBe(30)
  expect(estimate!.parts.sampling).toBeGreaterThan(0)
  expect(estimate!.parts.training).toBeGreaterThan(0)
  expect(estimate!.seconds).toBeGreaterThan(estimate!.parts.sampling!)
  expect(estimate!.memory_bytes).toBeGreaterThan(1e7)
  expect(existsSync(join(root, "probe"))).toBe(false)
  const text = probeText(result)
  expect(text).toMatch(/8 answers to 2 prompts[\s\S]*digits.mjs[\s\S]*estimate: 30 steps/)
})

test("probe warns where nothing could be learnt, and tries no learning rates", async () => {
  writeFileSync(join(root, "one.mjs"), "export default () => 1\n")
  const rollout = { rewards: [{ module: join(root, "one.mjs") }] }
  const config = parseConfig(settings("equal", { rollout }))
  const { warnings } = await probe(config, { timed: false })
  expect(warnings.find(({ code }) => code === "zero-variance")!.message).toMatch(
    /in 100 % of the groups all samples have the same reward \(1.000 on average\)/,
  )
  await expect(probe(config, { lrRange: true })).rejects.toThrow(
    /--lr-range: the loss of grpo does not say how well it learns/,
  )
})

test("check compares on sampled rows, and the sampler with training", async () => {
  const more = { objective: { name: "grpo", beta: 0.1 }, adapter: { r: 4 } }
  const { comparisons, passed } = await check(parseConfig(settings("check", more)))
  expect(comparisons.filter(({ verdict }) => verdict === "unusual")).toEqual([])
  expect(passed).toBe(true)
  const verdicts = Object.fromEntries(comparisons.map(({ name, verdict }) => [name, verdict]))
  expect(verdicts).toMatchObject({
    ...{ sampler: "usual", packing: "usual", "micro-batches": "usual" },
    ...{ interpreter: "usual", resume: "usual", engines: "not made" },
  })
  expect(existsSync(join(root, "check"))).toBe(false)
})

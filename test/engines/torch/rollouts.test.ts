import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"
import { parseConfig } from "../../../src/config/index.ts"
import { torchPlan, trainWithTorch } from "../../../src/engines/torch/torch-run.ts"
import { readRun } from "../../../src/run/run-folder.ts"
import {
  type More,
  rolloutsOf,
  stepsOf,
  tinyRollouts,
  withoutTime,
} from "../../train/rollouts/tiny-rollouts.ts"
import { PYTHON, WITH_PYTHON } from "./python.ts"

const { root, run, settings } = tinyRollouts()
afterAll(() => rmSync(root, { recursive: true, force: true }))

const torchConfig = (name: string, more: More, processes = 1) =>
  parseConfig({
    ...settings(name, more),
    engine: { name: "torch", dtype: "fp32", nproc_per_node: processes, python: PYTHON },
  })

async function onTorch(name: string, more: More, processes = 1) {
  const started = trainWithTorch(torchConfig(name, more, processes))
  for await (const _ of started);
  await started.result
  return readRun(join(root, name)).events
}

const sampled = (name: string) =>
  readFileSync(join(root, name, "rollouts.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => {
      const { completion, reward, finish_reason } = JSON.parse(line)
      return { completion, reward, finish_reason }
    })

const near = (a: number, b: number, most: number, what: string) =>
  expect(Math.abs(a - b), `${what}: ${a} and ${b}`).toBeLessThanOrEqual(
    most * Math.max(1e-3, Math.abs(a)),
  )

const GRPO = {
  objective: { name: "grpo", beta: 0.1 },
  rollout: { num_iterations: 2, temperature: 1.3, keep: "all", stop: ["77"] },
  ...{ max_steps: 6, learning_rate: 2e-3, eval_steps: 3 },
}

const shown = Array.from({ length: 6 }, (_, i) =>
  JSON.stringify({ prompt: `what is ${i} + ${i}? `, completion: `${2 * i}.`, answer: `${2 * i}` }),
)
writeFileSync(join(root, "shown.jsonl"), `${shown.join("\n")}\n`)
const SHOWN = { data: { train: [join(root, "shown.jsonl")], max_length: 64 } }
const SHORT = { max_steps: 3, learning_rate: 2e-3, rollout: { keep: "all", num_iterations: 1 } }
const LORA = { adapter: { r: 2, lora_alpha: 4 } }
const OBJECTIVES: readonly (More & { readonly rollout?: object })[] = [
  { objective: "rloo", rollout: { kl_in_reward: 0.1 } },
  { objective: "dapo", rollout: { num_iterations: 2, max_resamples: 2 }, ...LORA },
  { objective: "gspo" },
  { objective: "ppo", rollout: { num_iterations: 2 } },
  { objective: "reinforce++", ...LORA },
  { objective: "luffy-rl", ...SHOWN },
  { objective: "chord", ...SHOWN, ...LORA },
  { objective: "hpt", ...SHOWN },
  { objective: "srft", ...SHOWN },
  { objective: "prefix-rft", ...SHOWN },
  { objective: "dft-rl", ...SHOWN },
  { objective: "grpo", rollout: { replay: { keep: 0.1, every: 1, max: 8 } } },
]

describe.skipIf(!PYTHON)(`rollouts of engine torch, ${WITH_PYTHON}`, () => {
  const same = (here: Awaited<ReturnType<typeof run>>, there: typeof here) => {
    for (const [i, rollout] of rolloutsOf(here).entries()) {
      const other = rolloutsOf(there)[i]!
      near(rollout.reward!, other.reward!, 1e-6, "reward")
      near(rollout.entropy!, other.entropy!, 1e-4, "entropy")
      expect(other).toMatchObject({ prompts: rollout.prompts, truncated: rollout.truncated })
      expect(other.logp_difference!.max).toBeLessThan(1e-4)
    }
    expect(stepsOf(there)).toHaveLength(stepsOf(here).length)
    for (const [i, step] of stepsOf(here).entries()) {
      const other = stepsOf(there)[i]!
      for (const key of ["loss", "grad_norm", "nll", "policy_kl"] as const) {
        near(step[key]!, other[key]!, 1e-3, `${key} of step ${step.step}`)
      }
      near(step.ratio!.max, other.ratio!.max, 1e-3, "ratio")
      expect(other).toMatchObject({ epoch: step.epoch, supervised_tokens: step.supervised_tokens })
    }
  }

  test("the same samples, rewards and updates as the local engine's, on one rank and two", {
    timeout: 400_000,
  }, async () => {
    const local = await run("local", GRPO)
    for (const processes of [1, 2]) {
      const there = await onTorch(`torch-${processes}`, GRPO, processes)
      expect(sampled(`torch-${processes}`)).toEqual(sampled("local"))
      same(local, there)
      expect(there.map(({ type }) => type)).toEqual(local.map(({ type }) => type))
    }
  })

  test.each(OBJECTIVES)("$objective, as the local engine", { timeout: 400_000 }, async (more) => {
    const name = JSON.stringify(more).replace(/\W+/g, "-").slice(0, 60)
    const all = { ...SHORT, ...more, rollout: { ...SHORT.rollout, ...more.rollout } }
    const local = await run(`local${name}`, all)
    const there = await onTorch(`torch${name}`, all)
    expect(sampled(`torch${name}`)).toEqual(sampled(`local${name}`))
    same(local, there)
    for (const [i, { measures = {} }] of stepsOf(local).entries()) {
      const other = stepsOf(there)[i]!.measures ?? {}
      expect(Object.keys(other)).toEqual(Object.keys(measures))
      for (const [key, value] of Object.entries(measures)) {
        expect(other[key], `step ${i + 1}, ${key}`).toBeCloseTo(value, 4)
      }
    }
  })

  test("in bfloat16 the gap of each rollout is measured, and weighed where it is one", {
    timeout: 400_000,
  }, async () => {
    const config = parseConfig({
      ...settings("bf16", { ...SHORT, objective: "rloo" }),
      engine: { name: "torch", dtype: "bf16", nproc_per_node: 1, python: PYTHON },
    })
    const started = trainWithTorch(config)
    for await (const _ of started);
    await started.result
    const { events } = readRun(join(root, "bf16"))
    expect(stepsOf(events)).toHaveLength(3)
    const [first] = rolloutsOf(events)
    for (const rollout of rolloutsOf(events)) {
      expect(rollout.logp_difference!.mean).toBeGreaterThan(0)
      expect(rollout.logp_difference!.mean).toBeLessThan(0.05)
      expect(rollout.importance !== undefined).toBe(first!.logp_difference!.mean >= 1e-3)
    }
  })

  test("a run that goes on within a rollout gives the same numbers", {
    timeout: 400_000,
  }, async () => {
    const more = {
      ...GRPO,
      adapter: { r: 2, lora_alpha: 4 },
      save_steps: 3,
      save_total_limit: null,
    }
    const whole = await onTorch("whole", more)
    const resume = join(root, "whole", "checkpoints", "step-000003")
    const resumed = await onTorch("resumed", { ...more, resume })
    const after = whole.filter(({ step }) => step > 3)
    expect(withoutTime(resumed.filter(({ step }) => step > 3))).toEqual(withoutTime(after))
  })

  test("a run that is asked to stop ends after a checkpoint", { timeout: 200_000 }, async () => {
    const asked = new AbortController()
    const config = torchConfig("stopped", { max_steps: 200, learning_rate: 1e-5 })
    const started = trainWithTorch(config, { signal: asked.signal })
    for await (const event of started) if (event.type === "step") asked.abort()
    const { reason, steps } = await started.result
    expect(reason).toBe("interrupted")
    const folder = join(root, "stopped", "checkpoints", `step-${String(steps).padStart(6, "0")}`)
    expect(existsSync(join(folder, "rollout.safetensors"))).toBe(true)
  })

  test("a reward that fails ends the run with its words", { timeout: 200_000 }, async () => {
    const module = join(root, "broken.mjs")
    writeFileSync(module, 'export default () => { throw new Error("no ruler at hand") }')
    const running = onTorch("unrewarded", { rollout: { rewards: [{ module }] } })
    await expect(running).rejects.toThrow(/no ruler at hand/)
    const { events } = readRun(join(root, "unrewarded"))
    expect(events.at(-1)).toMatchObject({ type: "run.end", reason: "failed" })
  })
})

test.each([
  [
    { objective: "reinforce", rollout: { top_k: 5 } },
    /rollout.top_k: 5: .* engine torch does not do this/,
  ],
  [{ objective: { name: "ppo", value_coefficient: 0.5 } }, /a critic/],
  [{ ema_decay: 0.9 }, /ema_decay: 0.9: /],
] as const)("%j is refused by name", async (more, message) => {
  const config = () => parseConfig({ ...settings("refused", more), engine: "torch" })
  await expect((async () => torchPlan(config(), {}))()).rejects.toThrow(message)
})

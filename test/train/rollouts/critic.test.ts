import { readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { parseConfig } from "../../../src/config/index.ts"
import { type Graph, graph, type NdArray, ndarray } from "../../../src/graph/index.ts"
import { headBackward } from "../../../src/models/decoder/head.ts"
import { modelConfig } from "../../../src/models/families/model-config.ts"
import { evaluate, INPUTS, objectiveFromConfig } from "../../../src/objectives/index.ts"
import { valueLoss } from "../../../src/objectives/value-loss.ts"
import { difference } from "../../../src/runtime/conformance/judge.ts"
import { spread } from "../../../src/runtime/conformance/op-cases.ts"
import { interpret } from "../../../src/runtime/index.ts"
import { objectiveHead } from "../../../src/train/objective-head.ts"
import { tokenAdvantages } from "../../../src/train/rollouts/gae.ts"
import { rolloutsOf, stepsOf, tinyRollouts, withoutTime } from "./tiny-rollouts.ts"

type Rows = readonly (readonly number[])[]
const golden = JSON.parse(
  readFileSync(new URL("../../../golden/rl/rl.json", import.meta.url), "utf8"),
)
const { values, values_old } = golden.inputs.critic as Record<string, Rows>
const rewards = golden.inputs.groups.rewards as readonly number[]

const { root, run, settings } = tinyRollouts()
afterAll(() => rmSync(root, { recursive: true, force: true }))

test.each([
  [null, 0],
  [0.2, 0.2],
  [0.5, 0.5],
])("the value loss clipped by %s: golden value and gradient", (recorded, clip) => {
  const one = golden.cases.find(
    ({ name }: { name: string }) => name === `ppo-value-clip-${recorded ?? "None"}`,
  )
  const flat = (rows: Rows) => Float64Array.from(rows.flat())
  const columns = {
    value: flat(values!),
    old_value: flat(values_old!),
    value_target: flat(golden.advantages["returns_0.95"]),
  }
  const sequences = values!.flatMap((row, i) => row.map(() => i))
  const { loss, coefficients } = evaluate(valueLoss(INPUTS, clip), columns, sequences)
  const count = sequences.length
  expect(loss.reduce((sum, value) => sum + value, 0) / count).toBeCloseTo(one.closed.loss, 12)
  ;(one.closed.d_value as Rows).flat().forEach((expected, t) => {
    expect(coefficients.value![t]! / count).toBeCloseTo(expected, 12)
  })
})

const valued = (lambda: number, of: Rows = values_old!) =>
  tokenAdvantages(
    of.map((row, i) => ({ reward: rewards[i]!, values: Float32Array.from(row) })),
    { gamma: 1, lambda },
  )

test("GAE: golden advantages, whitened, and what the value head is to say", () => {
  const found = valued(0.95)
  found.forEach(({ advantages, targets }, i) => {
    advantages.forEach((value, t) => {
      expect(value).toBeCloseTo(golden.advantages["gae_0.95_whitened"][i][t], 5)
    })
    targets.forEach((value, t) => {
      expect(value).toBeCloseTo(golden.advantages["returns_0.95"][i][t], 6)
    })
  })
  valued(1).forEach(({ targets }, i) => {
    for (const target of targets) expect(target).toBeCloseTo(rewards[i]!, 6)
  })
})

test("without a value and with lambda 1 every token has its sample's reward, as in REINFORCE", () => {
  const none = values_old!.map((row) => row.map(() => 0))
  const found = valued(1, none)
  const byReward = new Map(found.map(({ advantages }, i) => [rewards[i]!, advantages[0]!]))
  found.forEach(({ advantages }, i) => {
    for (const one of advantages) expect(one).toBeCloseTo(byReward.get(rewards[i]!)!, 6)
  })
  expect(byReward.get(1)!).toBeGreaterThan(byReward.get(0)!)
})

test("a sample without a reward teaches neither head; what is taken off counts at its token", () => {
  const [unscored, penalised] = tokenAdvantages(
    [
      { reward: null, values: Float32Array.of(0.5, 0.25) },
      { reward: 1, values: new Float32Array(3), penalties: Float64Array.of(0, 0.5, 0) },
    ],
    { gamma: 0.5, lambda: 1 },
  )
  expect([...unscored!.advantages]).toEqual([0, 0])
  expect([...unscored!.targets]).toEqual([0.5, 0.25])
  // behind: 1; then -0.5 + 0.5 * 1; then 0 + 0.5 * 0
  expect([...penalised!.targets]).toEqual([0, 0, 1])
})

const [C, V, N] = [6, 5, 4]
const shape = modelConfig({
  ...{ model_type: "qwen2", hidden_size: C, vocab_size: V, intermediate_size: 8 },
  ...{ num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1 },
  ...{ head_dim: 4, rms_norm_eps: 1e-6, tie_word_embeddings: false, max_position_embeddings: 8 },
}).shape

test("both heads' gradients are the finite differences of their loss", () => {
  const objective = objectiveFromConfig({ name: "ppo", value_coefficient: 0.7, value_clip: 0.3 })
  const head = objectiveHead(objective)
  const options = { shape, ...head.settings }
  const backward: Graph = graph(
    "head",
    headBackward(options, { norm: true, head: true, value: true }),
  )
  const column = (seed: number, range: readonly [number, number] = [-1, 1]) =>
    ndarray([N, 1], spread(N, range, seed))
  const feeds: Record<string, NdArray> = {
    hidden: ndarray([N, C], spread(N * C, [-1, 1], 1)),
    "norm.weight": ndarray([C], spread(C, [0.5, 1.5], 2)),
    "head.weight": ndarray([V, C], spread(V * C, [-1, 1], 3)),
    "value.weight": ndarray([1, C], spread(C, [-1, 1], 4)),
    "acc.norm.weight": ndarray([C], new Float64Array(C)),
    "acc.head.weight": ndarray([V, C], new Float64Array(V * C)),
    "acc.value.weight": ndarray([1, C], new Float64Array(C)),
    labels: ndarray([N, 1], Float64Array.of(0, 3, 1, 4)),
    scale: column(5, [0.5, 2]),
    advantage: column(6),
    old_logp: column(7, [-2, -1]),
    old_value: column(8),
    value_target: column(9),
  }
  const given = Object.fromEntries(
    Object.entries(feeds).filter(([name]) => backward.inputs.some((one) => one.name === name)),
  )
  const loss = (moved: Record<string, NdArray>) => {
    const { loss: each } = interpret(backward, { ...given, ...moved })
    return each!.data.reduce((sum, value, t) => sum + value * feeds.scale!.data[t]!, 0)
  }
  const found = interpret(backward, given)
  for (const [name, key] of [
    ["value.weight", "grad.value.weight"],
    ["hidden", "dhidden"],
    ["norm.weight", "grad.norm.weight"],
  ] as const) {
    const x = feeds[name]!
    const numeric = x.data.map((_, i) => {
      const by = (h: number) => {
        const data = Float64Array.from(x.data)
        data[i]! += h
        return loss({ [name]: { shape: x.shape, data } })
      }
      return (by(1e-5) - by(-1e-5)) / 2e-5
    })
    expect(difference(found[key]!.data, numeric), name).toBeLessThan(1e-7)
  }
})

const CRITIC = { name: "ppo", value_coefficient: 0.5, value_clip: 0 }

test("a critic learns to foresee the reward; alone in its group a sample is enough", async () => {
  const rollout = { num_generations: 1, max_new_tokens: 8 }
  const events = await run("critic", { objective: CRITIC, rollout, max_steps: 30 })
  const rollouts = rolloutsOf(events)
  // zeros at first: they foresee nothing
  expect(rollouts[0]).toMatchObject({ value: 0, explained_variance: 0 })
  const last = rollouts.slice(-5)
  for (const { value, value_target } of last) {
    expect(Math.abs(value! - value_target!)).toBeLessThan(0.25)
  }
  expect(Math.max(...last.map((one) => one.reward))).toBeGreaterThan(rollouts[0]!.reward + 0.2)
  const [first] = stepsOf(events)
  expect(first!.measures).toMatchObject({ value: 0, value_clipped: 0 })
  expect(first!.measures!.value_loss).toBeGreaterThan(0)
})

test.each([
  ["whole", {}],
  ["adapter", { adapter: { type: "lora", r: 4 } }],
])("a resumed run (%s) has the critic it had, inside a rollout too", async (kind, adapter) => {
  const more = {
    ...{ objective: CRITIC, max_steps: 6, save_steps: 2, ...adapter },
    rollout: { num_iterations: 3, kl_in_reward: 0.05 },
  }
  const whole = await run(`critic-${kind}-whole`, more)
  const controller = new AbortController()
  await run(
    `critic-${kind}`,
    more,
    (event) => {
      if (event.type === "step" && event.step === 4) controller.abort()
    },
    controller.signal,
  )
  const resumed = await run(`critic-${kind}`, { ...more, resume: true })
  expect(withoutTime(resumed)).toEqual(withoutTime(whole))
  const file = kind === "adapter" ? "adapter_model.safetensors" : "model.safetensors"
  const model = (of: string) => readFileSync(join(root, of, "model", file))
  expect(model(`critic-${kind}`).equals(model(`critic-${kind}-whole`))).toBe(true)
  // a critic is no part of the model
  expect(model(`critic-${kind}`).includes("value_head")).toBe(false)
})

test("rules for groups are refused beside a critic, with what to do", () => {
  const config = (rollout: object) => settings("refused", { objective: CRITIC, rollout })
  expect(() => parseConfig(config({ advantage: "group" }))).toThrow(
    /rollout.advantage: group: ppo has a critic here.*value_coefficient to 0/,
  )
  expect(() => parseConfig(config({ scale_rewards: "batch" }))).toThrow(/rollout.scale_rewards/)
})

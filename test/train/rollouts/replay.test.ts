import { rmSync } from "node:fs"
import { afterAll, expect, test } from "vitest"
import type { ReplayEvent } from "../../../src/run/events.ts"
import { isReplayDue, keptSamples } from "../../../src/train/rollouts/replay.ts"
import type { RolloutRow } from "../../../src/train/rollouts/rollout.ts"
import { ROLLOUTS_BEGIN } from "../../../src/train/rollouts/rollout-state.ts"
import { givenRollouts } from "./given-samples.ts"
import { stepsOf, tinyRollouts, withoutTime } from "./tiny-rollouts.ts"

const { root, run } = tinyRollouts()
afterAll(() => rmSync(root, { recursive: true, force: true }))

const row = (advantage: number, more: object = {}) => ({ advantage, ...more }) as RolloutRow

test("samples are kept by |advantage|, the newest first, demonstrations never", () => {
  const settings = { keep: 1, every: 2, max: 3 }
  const first = keptSamples([], [row(1), row(-2), row(0.99), row(5, { expert: true })], settings, 0)
  expect(first.map(({ advantage, policyStep }) => [advantage, policyStep])).toEqual([
    [1, 0],
    [-2, 0],
  ])
  const second = keptSamples(first, [row(3), row(4)], settings, 2)
  expect(second.map(({ advantage, policyStep }) => [advantage, policyStep])).toEqual([
    [-2, 0],
    [3, 2],
    [4, 2],
  ])
})

test("a replay comes once after every so many rollouts, where anything was kept", () => {
  const settings = { keep: 1, every: 2, max: 3 }
  const at = (number: number, replayed?: number) =>
    isReplayDue(
      { ...ROLLOUTS_BEGIN, number, ...(replayed === undefined ? {} : { replayed }) },
      [row(1)],
      settings,
    )
  expect([0, 1, 2, 3, 4].map((number) => at(number))).toEqual([false, false, true, false, true])
  expect(at(2, 2)).toBe(false)
  expect(isReplayDue({ ...ROLLOUTS_BEGIN, number: 2 }, [], settings)).toBe(false)
})

test("a replayed sample has the log-probabilities and the advantage it was sampled with", async () => {
  const rollouts = givenRollouts(0.1, { replay: { keep: 0.5, every: 2, max: 6 } })
  const steps = []
  for (let step = 1; step <= 3; step++) steps.push((await rollouts.batch(step))!)
  const [first, second, replayed] = steps.map(({ rows }) => rows)
  expect(steps[2]!.events![0]).toMatchObject({
    ...{ type: "replay", samples: 6, tokens: 12, reward: 1 / 2 },
    age: { mean: 8 / 6, min: 1, max: 2 },
  })
  expect(replayed).toHaveLength(4) // a step of it
  const sampled = [...first!, ...second!]
  for (const again of replayed!) {
    const { columns, tokenIds } = again
    expect(sampled.some((one) => one.tokenIds.join() === tokenIds.join())).toBe(true)
    const { old_logp, sampling_logp, advantage } = columns as Record<string, Float32Array>
    expect(Math.abs(Number(advantage))).toBe(0.5)
    for (const old of old_logp!) expect(old).toBeCloseTo(-0.9, 6)
    for (const said of sampling_logp!) expect(said).toBe(-1)
  }
})

const REPLAY = { keep: 0.8, every: 2, max: 6 }
const replays = (events: readonly { type: string }[]) =>
  events.filter((event): event is ReplayEvent => event.type === "replay")

test("ten steps: as GRPO's up to the first replay, then past samples at their own ratio", async () => {
  const more = { max_steps: 10, learning_rate: 5e-3 }
  const plain = await run("without", more)
  const events = await run("replayed", { ...more, rollout: { replay: REPLAY } })
  const [before, after] = [stepsOf(plain), stepsOf(events)]
  expect(after).toHaveLength(10)
  const [first] = replays(events)
  expect(first!.step).toBe(2)
  expect(first!.samples).toBeGreaterThan(0)
  expect(after.slice(0, 2).map(({ loss }) => loss)).toEqual(
    before.slice(0, 2).map(({ loss }) => loss),
  )
  expect(after[0]!.ratio!.max).toBeCloseTo(1, 4)
  expect(Math.abs(after[2]!.ratio!.max - 1)).toBeGreaterThan(1e-3)
})

test("where nothing tells enough to be kept, the run is GRPO's to the bit", async () => {
  const replay = { keep: 1e5, every: 1, max: 6 }
  const plain = await run("plain", { max_steps: 4 })
  const events = await run("empty", { max_steps: 4, rollout: { replay } })
  expect(withoutTime(events)).toEqual(withoutTime(plain))
})

test.each([2, 3, 4])("stopped after step %d, a resumed run gives the same bits", async (at) => {
  const more = { max_steps: 6, save_steps: 1, save_total_limit: 2, rollout: { replay: REPLAY } }
  const whole = await run(`whole-${at}`, more)
  expect(replays(whole).length).toBeGreaterThan(0)
  const stop = new AbortController()
  const onEvent = (event: { type: string; step: number }) =>
    event.type === "step" && event.step === at && stop.abort()
  await run(`stopped-${at}`, more, onEvent, stop.signal)
  const events = await run(`stopped-${at}`, { ...more, resume: true })
  expect(withoutTime(events)).toEqual(withoutTime(whole))
})

import { rmSync } from "node:fs"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { parseConfig } from "../../../src/config/index.ts"
import type { SampleSource } from "../../../src/generate/sample-source.ts"
import type { RolloutEvent } from "../../../src/run/events.ts"
import { planRun } from "../../../src/train/plan.ts"
import { givenRollouts } from "./given-samples.ts"
import { tinyRollouts } from "./tiny-rollouts.ts"

const { root, settings } = tinyRollouts()
afterAll(() => rmSync(root, { recursive: true, force: true }))

/** Samples that come when they are let, each rollout's numbers written down. */
function heldSource() {
  const asked: number[] = []
  const held: (() => void)[] = []
  const source: SampleSource = {
    async *sample(requests, { signal } = {}) {
      const { number } = requests[0]!.rollout!
      if (!asked.includes(number)) asked.push(number)
      await new Promise<void>((done, fail) => {
        held.push(done)
        signal?.addEventListener("abort", () => fail(signal.reason))
      })
      for (const [requestIndex, { n }] of requests.entries()) {
        for (let sampleIndex = 0; sampleIndex < n; sampleIndex++) {
          const tokenIds = [5 + sampleIndex, 2]
          const rest = { completion: "", finishReason: "stop", seed: 0 }
          yield { requestIndex, sampleIndex, tokenIds, logprobs: [-1, -1], ...rest }
        }
      }
    },
  }
  const letCome = () => {
    for (const done of held.splice(0)) done()
  }
  return { source, asked, letCome }
}

const eventOf = (taken: { events?: readonly object[] } | undefined) =>
  taken?.events?.find((one) => "type" in one && one.type === "rollout") as RolloutEvent | undefined
const soon = () => new Promise((done) => setTimeout(done, 5))

test.each([
  // passes of a rollout, the bound, at which steps each rollout is asked for
  { passes: 1, most: 1, ready: [0, 0, 1, 2, 3], stale: [0, 1, 1, 1] },
  { passes: 3, most: 2, ready: [0, 1, 4], stale: [0, 2] },
  { passes: 3, most: 9, ready: [0, 0, 3], stale: [0, 3] },
  { passes: 2, most: 0, ready: [], stale: [undefined, undefined, undefined] },
])(
  "$passes passes, at most $most stale: drawn beside training, never by older weights",
  async (one) => {
    const { source, asked, letCome } = heldSource()
    const ready: number[] = []
    let step = 0
    const rollouts = givenRollouts(
      0.1,
      { num_iterations: one.passes, max_staleness: one.most, isRemote: true },
      { source, ready: async () => void ready.push(step - 1) },
    )
    const stale: (number | undefined)[] = []
    const policySteps: number[] = []
    const done = one.passes === 1 ? 4 : 5
    for (step = 1; step <= done; step++) {
      const taking = rollouts.batch(step)
      await soon()
      letCome() // what is waited for; what is drawn ahead is let come with the next step
      const event = eventOf(await taking)
      if (!event) continue
      stale.push(event.staleness)
      policySteps.push(event.policy_step)
      expect(event.policy_step + (event.staleness ?? 0)).toBe(step - 1)
      expect(event.staleness ?? 0).toBeLessThanOrEqual(one.most)
    }
    expect(stale).toEqual(one.stale)
    // the first is not drawn ahead, so the server is made ready by asking it
    if (one.most > 0) expect(ready).toEqual(one.ready.slice(1))
    expect(new Set(asked).size).toBe(asked.length)
    await rollouts.release()
  },
)

test("what is drawn ahead ends with the run, and what fails there ends it", async () => {
  const { source, letCome } = heldSource()
  const rollouts = givenRollouts(0.1, { max_staleness: 1, isRemote: true }, { source })
  const first = rollouts.batch(1)
  await soon()
  letCome()
  await first
  await rollouts.release() // the second never comes
  const failing: SampleSource = {
    async *sample(requests, options) {
      if (requests[0]!.rollout!.number > 0) throw new Error("no such host")
      yield* givenSamples(requests, options)
    },
  }
  const { source: plain, letCome: let2 } = heldSource()
  const givenSamples: SampleSource["sample"] = (requests, options) =>
    plain.sample(requests, options)
  const broken = givenRollouts(0.1, { max_staleness: 1, isRemote: true }, { source: failing })
  const taking = broken.batch(1)
  await soon()
  let2()
  await taking
  await expect(broken.batch(2)).rejects.toThrow("no such host")
})

test("stale samples are weighed from the first rollout on; the local engine is never stale", async () => {
  const sync = { folder: join(root, "live") }
  const source = { endpoint: "http://127.0.0.1:1", model: "m", sync }
  const of = (rollout: object) => parseConfig(settings("far", { rollout }))
  const planned = async (rollout: object) => (await planRun(of(rollout))).rollout!.settings
  expect(await planned({ source, max_staleness: 2 })).toMatchObject({ weighsSampler: true })
  expect(await planned({ source })).toMatchObject({ weighsSampler: "if-apart" })
  expect(() => of({ max_staleness: 2 })).toThrow(
    /rollout.max_staleness: 2: the local engine samples with the weights that are trained/,
  )
  expect(() => of({ source, max_staleness: 1, replay: {} })).toThrow(/replay trains older samples/)
  const rewards = ["self-score"]
  expect(() => of({ source, max_staleness: 1, rewards })).toThrow(/self-score asks the policy/)
})

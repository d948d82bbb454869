import { readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { parseConfig } from "../../../src/config/index.ts"
import { tellingRows } from "../../../src/train/rollouts/explore.ts"
import type { RolloutRow } from "../../../src/train/rollouts/rollout.ts"
import { rolloutsOf, stepsOf, tinyRollouts, withoutTime } from "./tiny-rollouts.ts"

const { root, run, settings } = tinyRollouts()
afterAll(() => rmSync(root, { recursive: true, force: true }))

// hard: right with a rare first character alone
const module = join(root, "rare.mjs")
writeFileSync(
  module,
  `export default ({ completion }) => ("0123".includes(completion[0] ?? "x") ? 1 : 0)\n`,
)
const rollout = { rewards: [{ module }], num_generations: 2, max_new_tokens: 4, keep: "all" }
const explore = { samples: 12, temperature: 1.5, keep: 0.5 }

test("prompts that no sample solved are asked for more; what says much of those is trained", async () => {
  const more = { batch_size: 6, max_steps: 4, save_steps: 2, rollout: { ...rollout, explore } }
  const events = await run("explored", more)
  const rollouts = rolloutsOf(events)
  const hard = rollouts.filter(({ explored }) => explored !== undefined)
  expect(hard.length).toBeGreaterThan(0)
  expect(hard.some(({ explored_found }) => explored_found! > 0)).toBe(true)
  for (const { explored } of hard) expect(explored! % 12).toBe(0)
  // drawn at another temperature: no fault of the sampler
  for (const { logp_difference } of rollouts) {
    expect(logp_difference?.max ?? 0).toBeLessThan(1e-4)
  }
  const told = readFileSync(join(root, "explored", "rollouts.jsonl"), "utf8")
    .trim()
    .split("\n")
  const samples = told.map((line) => JSON.parse(line))
  const added = samples.filter(({ explored }) => explored)
  expect(added.every(({ sample }) => sample >= 2)).toBe(true)
  const trained = added.filter(({ advantage }) => advantage !== null)
  expect(trained.length).toBeGreaterThan(0)
  for (const { advantage } of trained) expect(Math.abs(advantage)).toBeGreaterThanOrEqual(0.5)
  expect(stepsOf(events).every(({ grad_norm }) => Number.isFinite(grad_norm))).toBe(true)
  // the first samples are those of a run that asks for no more
  const plain = await run("plain", { batch_size: 6, max_steps: 1, rollout })
  const [first] = rolloutsOf(plain)
  expect(rollouts[0]!.sequences).toBeGreaterThan(first!.sequences)
  const stop = new AbortController()
  const onEvent = ({ type, step }: { type: string; step: number }) =>
    type === "step" && step === 3 && stop.abort()
  await run("stopped", more, onEvent, stop.signal)
  expect(withoutTime(await run("stopped", { ...more, resume: true }))).toEqual(withoutTime(events))
})

test("a group that was asked for no more is trained whole", () => {
  const row = (group: number, advantage: number, explored?: true) =>
    ({ group, advantage, explored }) as unknown as RolloutRow
  const rows = [row(0, 0.1), row(0, -0.1), row(1, -0.2), row(1, 4, true), row(1, -0.2, true)]
  expect(tellingRows(rows, { samples: 2, temperature: 1, keep: 1 })).toEqual([
    ...[true, true, false, true, false],
  ])
})

test("a server that samples at temperature 1 alone is refused beside it", () => {
  const sync = { folder: join(root, "live") }
  const source = { endpoint: "http://127.0.0.1:1", model: "m", sync }
  expect(() => parseConfig(settings("far", { rollout: { explore: {}, source } }))).toThrow(
    /rollout.explore: a server tells log-probabilities at temperature 1 alone/,
  )
})

import { expect, test } from "vitest"
import { objectiveFromConfig } from "../../src/objectives/index.ts"
import type { RunEvent, StepEvent } from "../../src/run/events.ts"
import { runWatch } from "../../src/train/preference-watch.ts"

const step = (fields: Partial<StepEvent>, i: number) =>
  ({
    type: "step",
    step: i + 1,
    grad_norm: 0.5,
    eos_p: 0.9,
    special_p: 0.9,
    ...fields,
  }) as StepEvent

function warned(steps: Partial<StepEvent>[], objective = "dpo", before: RunEvent[] = []): string[] {
  const watch = runWatch(objectiveFromConfig(objective), { max_grad_norm: 1 }, before)
  return steps.flatMap((fields, i) => watch(step(fields, i))?.code ?? [])
}
const run = (count: number, fields: (share: number) => Partial<StepEvent>) =>
  Array.from({ length: count }, (_, i) => fields(i / (count - 1)))

test("pairs known by heart, once", () => {
  const steps = run(60, (share) => ({
    loss: 0.69 * (1 - share),
    reward_accuracy: share > 0.3 ? 1 : 0.6,
    reward_margin: share,
    logp_chosen: -50,
  }))
  expect(warned(steps)).toEqual(["memorised-pairs"])
  expect(warned(steps, "sft")).toEqual([])
})

test("chosen answers that become unlikely while the margin grows", () => {
  const falling = run(60, (share) => ({
    loss: 0.6,
    reward_accuracy: 0.7,
    reward_margin: share,
    logp_chosen: -50 - 20 * share,
  }))
  expect(warned(falling)).toEqual(["chosen-falling"])
  const shrinking = falling.map((fields) => ({ ...fields, reward_margin: -fields.reward_margin! }))
  expect(warned(shrinking)).toEqual([])
})

test("a gradient that is always clipped, also across a resumed run", () => {
  const clipped = run(15, () => ({
    loss: 0.6,
    reward_accuracy: 0.7,
    reward_margin: 0,
    logp_chosen: -50,
    grad_norm: 30,
  }))
  expect(warned(clipped)).toEqual([])
  expect(warned(clipped, "dpo", clipped.map(step))).toEqual(["always-clipped"])
  const told = [...clipped.map(step), { type: "warning", code: "always-clipped" } as RunEvent]
  expect(warned(clipped, "dpo", told)).toEqual([])
})

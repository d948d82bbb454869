import { expect, test } from "vitest"
import { type ConfigInput, parseConfig } from "../../src/config/index.ts"
import { heldSettings, settingDifferences } from "../../src/train/run-identity.ts"

const minimal = { model: "model", data: { train: ["rows.jsonl"] } }
const resolved = (given: Partial<ConfigInput>) => parseConfig({ ...minimal, ...given })

const wsd = { lr_scheduler: "warmup_stable_decay" } as const
const floored = { lr_scheduler: "cosine_with_min_lr" } as const

test("a schedule's options are filled in where it takes some, and resolve to themselves", () => {
  expect(resolved({}).lr_scheduler_kwargs).toBeNull()
  const full = { min_lr_rate: 0, num_decay_steps: null, decay_ratio: 0.1, decay_type: "cosine" }
  expect(resolved(wsd).lr_scheduler_kwargs).toEqual(full)
  const steps = resolved({ ...wsd, lr_scheduler_kwargs: { num_decay_steps: 30 } })
  expect(steps.lr_scheduler_kwargs).toEqual({ ...full, num_decay_steps: 30, decay_ratio: null })
  for (const config of [resolved(wsd), steps]) expect(parseConfig(config)).toEqual(config)
})

test.each([
  [floored, /lr_scheduler: cosine_with_min_lr needs lr_scheduler_kwargs: \{ min_lr_rate: 0.1 \}/],
  [
    { lr_scheduler_kwargs: { min_lr_rate: 0.1 } },
    /min_lr_rate: lr_scheduler: cosine does not take it; cosine_with_min_lr and warmup_stable_decay can/,
  ],
  [
    { ...floored, lr_scheduler_kwargs: { min_lr_rate: 0, decay_type: "linear" } },
    /decay_type: lr_scheduler: cosine_with_min_lr does not take it; warmup_stable_decay can/,
  ],
  [
    { ...wsd, lr_scheduler_kwargs: { num_decay_steps: 3, decay_ratio: 0.5 } },
    /give num_decay_steps or decay_ratio, not both/,
  ],
] as const)("%j is refused", (given, message) => {
  expect(() => resolved(given)).toThrow(message)
})

test("a run is held to its schedule's options, and one from before them goes on", () => {
  const there = heldSettings(resolved({}))
  const { lr_scheduler_kwargs: _, ...before } = there
  expect(settingDifferences(before, there)).toEqual([])
  const [early, late] = [10, 20].map((num_decay_steps) =>
    heldSettings(resolved({ ...wsd, lr_scheduler_kwargs: { num_decay_steps } })),
  )
  expect(settingDifferences(early!, late!)).toEqual([
    "lr_scheduler_kwargs.num_decay_steps 10 there, 20 here",
  ])
})

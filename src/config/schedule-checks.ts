import type { ConfigProblem } from "./issues.ts"
import type { Schedule, ScheduleOptions } from "./schedule-schema.ts"

const TAKEN: { readonly [Name in Schedule["lr_scheduler"]]: readonly (keyof ScheduleOptions)[] } = {
  cosine: [],
  linear: [],
  constant: [],
  cosine_with_min_lr: ["min_lr_rate"],
  warmup_stable_decay: ["min_lr_rate", "num_decay_steps", "decay_ratio", "decay_type"],
}

/** What is wrong between a schedule and its options. */
export function scheduleProblems(config: Schedule): ConfigProblem[] {
  const { lr_scheduler: name, lr_scheduler_kwargs: options } = config
  const at = "value" as const
  const path = (key: string) => ["lr_scheduler_kwargs", key]
  const found: ConfigProblem[] = []
  for (const [key, value] of Object.entries(options ?? {})) {
    if (value === null || TAKEN[name].some((taken) => taken === key)) continue
    const able = Object.entries(TAKEN)
      .filter(([, keys]) => keys.some((taken) => taken === key))
      .map(([other]) => other)
    const message = `lr_scheduler: ${name} does not take it; ${able.join(" and ")} can`
    found.push({ path: path(key), at, message })
  }
  if (name === "cosine_with_min_lr" && (options?.min_lr_rate ?? null) === null) {
    const message = "cosine_with_min_lr needs lr_scheduler_kwargs: { min_lr_rate: 0.1 }, its floor"
    found.push({ path: ["lr_scheduler"], at, message })
  }
  if (options?.num_decay_steps && options.decay_ratio) {
    const message = "give num_decay_steps or decay_ratio, not both"
    found.push({ path: path("num_decay_steps"), at, message })
  }
  return found
}

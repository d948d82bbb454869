import { z } from "zod"
import { count, fraction, positive } from "./number-fields.ts"

export const LR_SCHEDULERS = [
  ...(["cosine", "linear", "constant"] as const),
  ...(["cosine_with_min_lr", "warmup_stable_decay"] as const),
] as const

/** Share of the steps in which warmup_stable_decay falls, where the config leaves it out. */
const DEFAULT_DECAY_RATIO = 0.1

/** What a schedule of Transformers' takes beside the warmup, in its words. */
export const scheduleFields = z
  .strictObject({
    min_lr_rate: fraction
      .describe(
        "The floor, as a share of learning_rate. cosine_with_min_lr needs it; warmup_stable_decay starts its warmup there too, as in Transformers (0 if left out).",
      )
      .nullable()
      .default(null),
    num_decay_steps: count
      .describe(
        "warmup_stable_decay: the last steps, in which the rate falls; at most those after the warmup.",
      )
      .nullable()
      .default(null),
    decay_ratio: positive
      .max(1)
      .describe(
        `warmup_stable_decay: num_decay_steps as a share of all steps, rounded up; ${DEFAULT_DECAY_RATIO} where both are left out.`,
      )
      .nullable()
      .default(null),
    decay_type: z
      .enum(["cosine", "linear", "1-sqrt"])
      .describe("warmup_stable_decay: the shape of the fall; cosine if left out.")
      .nullable()
      .default(null),
  })
  .describe("What cosine_with_min_lr and warmup_stable_decay take beside the warmup.")

export type ScheduleOptions = z.output<typeof scheduleFields>

export interface Schedule {
  readonly lr_scheduler: (typeof LR_SCHEDULERS)[number]
  readonly lr_scheduler_kwargs: ScheduleOptions | null
}

/** The options with their defaults; null for schedules that take none. */
export function scheduleOptions({
  lr_scheduler,
  lr_scheduler_kwargs: given,
}: Schedule): ScheduleOptions | null {
  if (lr_scheduler !== "warmup_stable_decay") return given
  const options = given ?? scheduleFields.parse({})
  const { num_decay_steps: steps, decay_ratio: ratio } = options
  return {
    min_lr_rate: options.min_lr_rate ?? 0,
    num_decay_steps: steps,
    decay_ratio: ratio ?? (steps === null ? DEFAULT_DECAY_RATIO : null),
    decay_type: options.decay_type ?? "cosine",
  }
}

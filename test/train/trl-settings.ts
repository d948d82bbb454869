import type { TrainerSettings } from "../../src/train/trainer.ts"

/** What the golden scripts set TRL's trainers to, in our words; the rate is each test's own. */
export const TRL_SETTINGS: Omit<TrainerSettings, "learning_rate"> = {
  lr_scheduler: "constant",
  warmup_ratio: 0,
  warmup_steps: null,
  max_grad_norm: 1,
  seed: 0,
  on_nonfinite: "stop",
  save_steps: 0,
  eval_steps: 0,
  generate_samples: null,
}

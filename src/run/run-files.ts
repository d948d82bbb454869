/** Files of a run folder (docs/events.md). */
export const RUN_FILES = {
  config: "config.json",
  events: "events.jsonl",
  checkpoints: "checkpoints",
  model: "model",
  samples: "samples.jsonl",
  rollouts: "rollouts.jsonl",
  forgetting: "forgetting.json",
  report: "report.html",
} as const

/**
 * Runs of one stream of the server: its ids name the place in each. Tabs ask for others themselves.
 */
export const MOST_FOLLOWED = 16

/** A checkpoint's folder in `checkpoints/`, by its step. */
export const checkpointName = (step: number): string => `step-${String(step).padStart(6, "0")}`

export const stepOfCheckpoint = (name: string): number => Number(name.slice("step-".length))

/** Where events and samples go that a resumed run overtakes. */
export const SUPERSEDED_FILES = {
  events: "events.superseded.jsonl",
  samples: "samples.superseded.jsonl",
} as const

/** What a run adds to where it lies; all else is put in the place of what is there. */
export const GROWING_FILES = [
  RUN_FILES.events,
  RUN_FILES.samples,
  RUN_FILES.rollouts,
  ...Object.values(SUPERSEDED_FILES),
  RUN_FILES.checkpoints,
] as const

/** A file that asks a run for a checkpoint and its end, whatever engine and machine it runs on. */
export const STOP_FILE = "stop"

/** What engine torch writes besides. */
export const TORCH_FILES = [
  "torch",
  "run-spec.json",
  STOP_FILE,
  "adapter-start.safetensors",
  "run.sbatch",
  "run.kubernetes.yaml",
  "run.skypilot.yaml",
] as const

/** What the page of `dftune serve` keeps beside a run. */
export const PAGE_FILES = {
  folder: "page",
  /** What a list of runs shows, and what a run's page draws: both made from the events. */
  summary: "summary.json",
  details: "details.bin",
  /** What a model makes of single tokens, a file a row and checkpoint. */
  tokens: "tokens",
  /** Tags, and whether the run is archived. */
  marks: "marks.json",
} as const

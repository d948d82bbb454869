/** Files of a run folder (docs/events.md). */
export const RUN_FILES = {
  config: "config.json",
  events: "events.jsonl",
  checkpoints: "checkpoints",
  model: "model",
  samples: "samples.jsonl",
  report: "report.html",
} as const

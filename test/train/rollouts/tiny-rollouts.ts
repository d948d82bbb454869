import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseConfig } from "../../../src/config/index.ts"
import type { RolloutEvent, RunEvent, StepEvent } from "../../../src/run/events.ts"
import { readRun } from "../../../src/run/run-folder.ts"
import { runHere } from "../../../src/train/run.ts"
import { tinyModel } from "../tiny-model.ts"

/**
 * Rewards the share of digits: something that a model without training can be taught in a few
 * steps.
 */
const DIGITS = `export default ({ completion }) =>
  completion.length === 0 ? 0 : [...completion].filter((c) => c >= "0" && c <= "9").length / completion.length
`

export type More = { readonly rollout?: object; readonly [key: string]: unknown }

/**
 * A tiny model, six prompts and a reward in a folder of their own, and runs on them in this thread.
 */
export function tinyRollouts() {
  const root = mkdtempSync(join(tmpdir(), "dftune-rollouts-"))
  process.env.DFTUNE_CACHE = join(root, "cache")
  tinyModel(root)
  const prompts = Array.from({ length: 6 }, (_, i) => {
    return JSON.stringify({ prompt: `what is ${i} + ${i}? `, answer: `${2 * i}` })
  })
  writeFileSync(join(root, "prompts.jsonl"), `${prompts.join("\n")}\n`)
  writeFileSync(join(root, "digits.mjs"), DIGITS)
  const settings = (name: string, { rollout = {}, ...more }: More = {}) => ({
    model: join(root, "model-start"),
    data: { train: [join(root, "prompts.jsonl")], max_length: 64 },
    objective: "grpo",
    batch_size: 8,
    micro_batch_tokens: 128,
    learning_rate: 1e-2,
    lr_scheduler: "constant",
    max_steps: 6,
    save_steps: 0,
    eval_steps: 0,
    engine: { name: "onnx", device: "cpu", threads: 1 },
    output_dir: join(root, name),
    rollout: {
      num_generations: 4,
      max_new_tokens: 8,
      rewards: [{ module: join(root, "digits.mjs") }],
      ...rollout,
    },
    ...more,
  })
  const run = async (
    name: string,
    more: More = {},
    onEvent: (event: RunEvent) => void = () => {},
    signal?: AbortSignal,
  ) => {
    const config = parseConfig(settings(name, more))
    for await (const event of runHere(config, signal ? { signal } : {})) onEvent(event)
    return readRun(join(root, name)).events
  }
  return { root, settings, run }
}

export const rolloutsOf = (events: readonly RunEvent[]) =>
  events.filter((event): event is RolloutEvent => event.type === "rollout")
export const stepsOf = (events: readonly RunEvent[]) =>
  events.filter((event): event is StepEvent => event.type === "step")
export const warningsOf = (events: readonly RunEvent[]) =>
  events.flatMap((event) => (event.type === "warning" ? [event] : []))
/** What a resumed run must tell as the whole one did. */
export const withoutTime = (events: readonly RunEvent[]) =>
  events.flatMap(({ time: _, ...event }) => {
    if (["run.start", "run.end", "checkpoint"].includes(event.type)) return []
    const isTimed = (key: string) => /seconds$|^tokens_per_second$|^memory_bytes$/.test(key)
    return [Object.fromEntries(Object.entries(event).filter(([key]) => !isTimed(key)))]
  })
export const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length

/** Checkpoints of dftune 0.1.0: what they held a run to were hashes of groups of settings. */
import { createHash } from "node:crypto"
import { join, resolve } from "node:path"
import type { Config } from "../config/index.ts"
import { isObject, type JsonObject } from "../formats/json.ts"
import { jsonOfFile } from "../formats/plain-file.ts"
import { objectiveToJson } from "../objectives/index.ts"
import { RUN_FILES } from "../run/run-files.ts"
import type { RunPlan } from "./plan.ts"
import { heldSettings, type Identity, OTHER_ROWS, settingDifferences } from "./run-identity.ts"

export type Fingerprint = Readonly<Record<string, string>>

const short = (value: unknown) =>
  createHash("sha256").update(JSON.stringify(value)).digest("hex").slice(0, 12)

const orderHash = ({ batch_size, data, seed }: Config, microBatchTokens: number) =>
  short([batch_size, microBatchTokens, data.packing, seed])

/** What `micro_batch_tokens: auto` can have been then. */
const CHOICES = [256, 512, 1024, 2048, 4096, 8192, 16384]

/** The micro-batches of a run with `auto`; undefined when its order was another. */
export function microBatchTokensThen(fingerprint: Fingerprint, config: Config): number | undefined {
  return CHOICES.find((tokens) => orderHash(config, tokens) === fingerprint.order)
}

/** The resolved config in the run folder. Unlike the fingerprint, it names the settings. */
function configThen(checkpoint: string): JsonObject | undefined {
  const file = join(checkpoint, "..", "..", RUN_FILES.config)
  const record = jsonOfFile(file)
  return isObject(record) && isObject(record.config) ? record.config : undefined
}

/** By hash: which groups of settings differ. */
function groupDifferences(fingerprint: Fingerprint, { config, objective, split }: RunPlan) {
  const { adapter, quantization, max_steps, num_train_epochs } = config
  const { learning_rate, lr_scheduler, warmup_ratio, weight_decay, max_grad_norm } = config
  const { adam_beta1, adam_beta2, adam_epsilon } = config
  const { type, r, lora_alpha, lora_dropout, target_modules, use_rslora } = adapter ?? {}
  const then = adapter && { type, r, lora_alpha, lora_dropout, target_modules, use_rslora }
  const now: Fingerprint = {
    objective: short(objectiveToJson(objective)),
    adapter: short([then, quantization]),
    order: orderHash(config, split.capacity),
    length: short([max_steps, num_train_epochs]),
    optimizer: short([
      ...[learning_rate, lr_scheduler, warmup_ratio, weight_decay, max_grad_norm],
      ...[adam_beta1, adam_beta2, adam_epsilon],
    ]),
  }
  return Object.keys(now)
    .filter((name) => now[name] !== fingerprint[name])
    .map((name) => `another ${name}`)
}

/** All that differs between a run of 0.1.0 and this one. */
export function differencesThen(
  path: string,
  fingerprint: Fingerprint,
  here: Identity,
  plan: RunPlan,
): string[] {
  const then = configThen(path)
  const found =
    then === undefined
      ? groupDifferences(fingerprint, plan)
      : settingDifferences(heldSettings(then), here.settings)
  const packed = orderHash(plan.config, plan.split.capacity) === fingerprint.order
  if (found.length === 0 && !packed) found.push("another micro_batch_tokens")
  const model = fingerprint.model ?? ""
  if (resolve(model) !== resolve(here.model)) found.push(`model ${model} there, ${here.model} here`)
  if (here.dtype === "bf16") found.push("engine.dtype fp32 there, bf16 here")
  if (fingerprint.data !== here.rows) found.push(OTHER_ROWS)
  return found
}

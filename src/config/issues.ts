import type { z } from "zod"
import { didYouMean } from "../closest-name.ts"
import { ENGINES } from "./schema.ts"

export type KeyPath = readonly PropertyKey[]
type Issue = z.core.$ZodIssue

/** One thing wrong with a config: where, and in words. */
export interface ConfigProblem {
  readonly path: KeyPath
  /** Whether the key itself is wrong (unknown) or its value. */
  readonly at: "key" | "value"
  readonly message: string
}

/** What other trainers call it, and what to write here. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  loss_type: "write objective: dft",
  use_dft_loss: "write objective: dft",
  enable_dft_loss: "write objective: dft",
  use_dft: "write objective: dft",
  liger_use_token_scaling: "write objective: dft",
  use_asft_loss: "write objective: asft",
  use_eaft_loss: "write objective: eaft",
  use_eaft: "write objective: eaft",
  objective_trans: "write objective: with a name of docs/objectives.md",
  model_name_or_path: "write model:",
  base_model: "write model:",
  dataset: "write data.train:",
  datasets: "write data.train:",
  dataset_name: "write data.train:",
  max_seq_length: "write data.max_length:",
  sequence_len: "write data.max_length:",
  cutoff_len: "write data.max_length:",
  max_length: "write data.max_length:",
  packing: "write data.packing:",
  lr: "write learning_rate:",
  lr_scheduler_type: "write lr_scheduler:",
  warmup_steps: "write warmup_ratio: (a share of the steps)",
  per_device_train_batch_size:
    "write batch_size: (sequences per optimizer step, all workers together) and micro_batch_tokens:",
  per_device_eval_batch_size: "write micro_batch_tokens:",
  gradient_accumulation_steps: "it follows from batch_size: and micro_batch_tokens:",
  gradient_checkpointing: "write recompute: always",
  bf16: "write engine: { name: torch, dtype: bf16 }",
  load_in_4bit: "write quantization: int4",
  load_in_8bit: "write quantization: int8",
  lora_r: "write adapter: { type: lora, r: ... }",
  lora_rank: "write adapter: { type: lora, r: ... }",
  lora_alpha: "write adapter: { type: lora, lora_alpha: ... }",
  epochs: "write num_train_epochs:",
  optim: "dftune has one optimizer, AdamW",
  resume_from_checkpoint: "write resume:",
}

/** A value as a person wrote it, kept short. */
export function shown(value: unknown): string {
  if (value === undefined) return "nothing"
  if (Array.isArray(value)) return `a list of ${value.length}`
  if (typeof value === "object" && value !== null) return "a mapping"
  const text = typeof value === "bigint" ? String(value) : (JSON.stringify(value) ?? String(value))
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

const TYPES: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a mapping",
  record: "a mapping",
  null: "null",
}

function at(value: unknown, path: KeyPath): unknown {
  return path.reduce<unknown>(
    (inner, key) =>
      typeof inner === "object" && inner !== null
        ? (inner as Record<PropertyKey, unknown>)[key]
        : undefined,
    value,
  )
}

/** What one issue expected, without saying where. */
function expectation(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      return TYPES[issue.expected] ?? issue.expected
    case "invalid_value":
      return issue.values.map((value) => JSON.stringify(value)).join(", ")
    case "too_small":
      return issue.origin === "array" || issue.origin === "string"
        ? `at least ${issue.minimum} ${issue.origin === "array" ? "entries" : "characters"}`
        : `a number ${issue.inclusive ? "of at least" : "above"} ${issue.minimum}`
    case "too_big":
      return issue.origin === "array" || issue.origin === "string"
        ? `at most ${issue.maximum} ${issue.origin === "array" ? "entries" : "characters"}`
        : `a number ${issue.inclusive ? "of at most" : "below"} ${issue.maximum}`
    case "invalid_format":
      return issue.format === "regex" ? `text that matches ${issue.pattern}` : issue.format
    default:
      return issue.message
  }
}

/** The branch of a union that the user was writing: the one that accepts the kind of value given. */
function branchMeant(branches: readonly (readonly Issue[])[]): readonly Issue[] | undefined {
  const inside = branches.filter((issues) => issues.every(({ path }) => path.length > 0))
  return (
    inside[0] ?? branches.find((issues) => issues.some(({ code }) => code === "unrecognized_keys"))
  )
}

/** Every problem that zod found in `input`, in words. */
export function problems(
  issues: readonly Issue[],
  input: unknown,
  known: (path: KeyPath) => readonly string[],
  prefix: KeyPath = [],
): ConfigProblem[] {
  return issues.flatMap((issue): ConfigProblem[] => {
    const path = [...prefix, ...issue.path]
    const value = at(input, path)
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => ({
        path: [...path, key],
        at: "key",
        message: `unknown key "${key}"${unknownKeyHint(key, path, known(path), value)}`,
      }))
    }
    if (issue.code === "invalid_union") {
      if (issue.discriminator !== undefined && issue.errors.length === 0) {
        const options = known(path).map((name) => JSON.stringify(name))
        const message = `expected ${options.join(" or ")}, got ${shown(value)}`
        return [{ path, at: "value", message }]
      }
      const meant = branchMeant(issue.errors)
      if (meant !== undefined) return problems(meant, input, known, path)
      const expected = [...new Set(issue.errors.flat().map(expectation))].join(" or ")
      return [
        {
          path,
          at: "value",
          message: `expected ${expected}, got ${shown(value)}${hint(issue, value)}`,
        },
      ]
    }
    if (value === undefined && issue.code === "invalid_type") {
      return [{ path, at: "value", message: `missing: expected ${expectation(issue)}` }]
    }
    const oneOf = issue.code === "invalid_value" && issue.values.length > 1 ? "one of " : ""
    return [
      {
        path,
        at: "value",
        message: `expected ${oneOf}${expectation(issue)}, got ${shown(value)}${hint(issue, value)}`,
      },
    ]
  })
}

function unknownKeyHint(
  key: string,
  path: KeyPath,
  names: readonly string[],
  mapping: unknown,
): string {
  if (path.length === 0 && ELSEWHERE[key] !== undefined) return `; ${ELSEWHERE[key]}`
  // Known, but to another branch of a union: the only such union is the engine's.
  if (names.includes(key)) {
    const chosen = (mapping as { readonly name?: string }).name
    const able = ENGINES.filter((name) => name !== chosen).map((name) => `engine: ${name}`)
    return `: engine ${chosen} cannot honour it; ${able.join(" or ")} can`
  }
  return didYouMean(key, names)
}

function hint(issue: Issue, value: unknown): string {
  if (typeof value !== "string") return ""
  const values = (issue.code === "invalid_union" ? issue.errors.flat() : [issue]).flatMap(
    (inner) => (inner.code === "invalid_value" ? inner.values.map(String) : []),
  )
  return didYouMean(value, values)
}

/** `data.train[0].path`. */
export function pathText(path: KeyPath): string {
  return path
    .map((key, i) =>
      typeof key === "number" ? `[${key}]` : i === 0 ? String(key) : `.${String(key)}`,
    )
    .join("")
}

import { missing, nothing, put, type Rule, type Rules, toLora } from "./draft.ts"

/** PEFT's LoraConfig, whose keys most trainers carry under their own names. */

export const loraTargets: Rule = (value, draft) => {
  const names = Array.isArray(value) ? value.map(String) : String(value).split(",")
  const all = names.length === 1 && /^(all|all-linear)$/.test(names[0]!.trim())
  draft.lora.target_modules = all ? "all-linear" : names.map((name) => name.trim())
}

const words = (value: unknown): string[] =>
  [value]
    .flat()
    .flatMap((part) => String(part ?? "").split(","))
    .map((name) => name.trim())
    .filter((name) => name !== "")

/** Names in a list, or in one text with commas. */
export const modulesToSave: Rule = (value, draft) => {
  const names = words(value)
  if (names.length > 0) draft.lora.modules_to_save = names
}

/** A pattern of modules; an empty one says nothing. */
const pattern =
  (key: string): Rule =>
  (value, draft) => {
    const isEmpty = typeof value === "object" && Object.keys(value ?? {}).length === 0
    if (value !== null && !isEmpty) draft.lora[key] = value
  }

export const layers: Rule = (value, draft) => {
  if (value === null || value === undefined) return undefined
  const numbers = words(value).map(Number)
  if (!numbers.every((layer) => Number.isInteger(layer) && layer >= 0)) {
    return "expected numbers of layers; give them as adapter.layers_to_transform"
  }
  if (numbers.length > 0) draft.lora.layers_to_transform = numbers
  return undefined
}

/** How A and B begin. */
export const loraStart: Rule = (value, draft) => {
  if (/^pissa(_niter_\d+)?$/.test(String(value))) {
    draft.lora.init_lora_weights = "pissa"
    return undefined
  }
  const plain = [true, "true", "True", "kaiming", "default", null, undefined]
  return plain.includes(value as string)
    ? undefined
    : "A starts uniform and B at zero here, as PEFT's own start"
}

/** LoRA+'s ratio; an adapter of embeddings is none here. */
const ratio: Rule = toLora("loraplus_lr_ratio")

export const PEFT: Rules = {
  r: toLora("r"),
  lora_alpha: toLora("lora_alpha"),
  lora_dropout: toLora("lora_dropout"),
  target_modules: loraTargets,
  exclude_modules: pattern("exclude_modules"),
  modules_to_save: modulesToSave,
  layers_to_transform: layers,
  rank_pattern: pattern("rank_pattern"),
  alpha_pattern: pattern("alpha_pattern"),
  use_rslora: toLora("use_rslora"),
  use_dora: toLora("use_dora"),
  init_lora_weights: loraStart,
  loraplus_lr_ratio: ratio,
  loraplus_lr_embedding: nothing,
  bias: missing("biases stay frozen"),
  task_type: nothing,
}

/** An adapter that training goes on from brings its own rank, scale and modules. */
export const earlierAdapter: Rule = (value) =>
  value === null || value === ""
    ? undefined
    : `to train it on, write adapter: { path: ${JSON.stringify(value)} } and none of its other keys`

export const quantization =
  (bits: 4 | 8): Rule =>
  (value, draft) => {
    if (value === true) put(draft, "quantization", `int${bits}`)
  }

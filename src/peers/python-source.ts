import { InputError } from "../errors.ts"

/** Keyword arguments of known calls in a Python script, where they are literals. Nothing is run. */
export interface PythonSettings {
  readonly settings: Readonly<Record<string, unknown>>
  /** Classes and calls that were found. */
  readonly names: readonly string[]
  readonly expressions: Readonly<Record<string, string>>
}

/** Calls whose keyword arguments are settings, and what their keys are put under. */
const CALLS: Readonly<Record<string, string>> = {
  SFTConfig: "",
  TrainingArguments: "",
  UnslothTrainingArguments: "",
  ModelConfig: "",
  ScriptArguments: "",
  DPOConfig: "",
  GRPOConfig: "",
  KTOConfig: "",
  ORPOConfig: "",
  CPOConfig: "",
  RLOOConfig: "",
  RewardConfig: "",
  PRMConfig: "",
  PPOConfig: "",
  LoraConfig: "lora_config.",
  get_peft_model: "peft.",
  "FastLanguageModel.from_pretrained": "unsloth.",
  "FastModel.from_pretrained": "unsloth.",
  "FastVisionModel.from_pretrained": "unsloth.",
  SFTTrainer: "trainer.",
  DPOTrainer: "trainer.",
  KTOTrainer: "trainer.",
  ORPOTrainer: "trainer.",
  CPOTrainer: "trainer.",
  RewardTrainer: "trainer.",
  train_on_responses_only: "responses_only.",
  BitsAndBytesConfig: "quantize.",
  load_dataset: "load_dataset.",
}
/** Arguments that may be given by place. */
const PLACES: Readonly<Record<string, readonly string[]>> = {
  load_dataset: ["path", "name", "data_dir", "data_files"],
  SFTTrainer: ["model", "args"],
  DPOTrainer: ["model", "ref_model", "args"],
  KTOTrainer: ["model", "ref_model", "args"],
  ORPOTrainer: ["model", "args"],
  CPOTrainer: ["model", "args"],
  RewardTrainer: ["model", "args"],
  "FastLanguageModel.from_pretrained": ["model_name"],
  "FastModel.from_pretrained": ["model_name"],
  "FastVisionModel.from_pretrained": ["model_name"],
}
/** The first call counts: later ones load evaluation rows or judges. */
const ONCE = /^load_dataset$|Trainer$/
/** With one of these the script trains; the others only prepare. */
const TRAINING = /Config$|Arguments$|Trainer$|from_pretrained$|^get_peft_model$/
/** Objects of the program, not settings. */
const OBJECTS =
  /^(?:peft\.model|trainer\.(?:args|ref_model|tokenizer|processing_class|train_dataset|eval_dataset|data_collator|peft_config|callbacks|compute_metrics)|lora_config\.inference_mode|quantize\.bnb_4bit_compute_dtype|(?:bf16|fp16)|unsloth\.(?:token|dtype))$/

export function readPython(source: string, file: string): PythonSettings {
  const text = withoutComments(source)
  const constants = constantsOf(text)
  const settings: Record<string, unknown> = {}
  const expressions: Record<string, string> = {}
  const names: string[] = []
  for (const call of text.matchAll(
    /(?<![\w])(?:(?:[a-z_]\w*)\.)?((?:[A-Z]\w+\.)?[A-Za-z_]\w*)\s*\(/g,
  )) {
    const name = Object.hasOwn(CALLS, call[1]!) ? call[1]! : call[1]!.split(".").at(-1)!
    const prefix = Object.hasOwn(CALLS, name) ? CALLS[name]! : undefined
    if (prefix === undefined || /\b(?:def|class)\s+$/.test(text.slice(0, call.index))) continue
    if (ONCE.test(name) && names.includes(name)) continue
    names.push(name)
    const open = call.index + call[0].length
    const parts = callArguments(text, open)
    if (parts === undefined) {
      const line = text.slice(0, call.index).split("\n").length
      throw new InputError(
        `${file}:${line}: the call of ${name} is not closed. Is the script whole?`,
      )
    }
    for (const [place, argument] of parts.entries()) {
      const pair = /^\s*(\w+)\s*=(?!=)\s*([\s\S]*?)\s*$/.exec(argument)
      const key = pair?.[1] ?? PLACES[name]?.[place]
      if (key === undefined || argument.trim() === "") continue
      const written = (pair?.[2] ?? argument).trim()
      const value = pythonLiteral(written) ?? constants.get(written)
      if (value !== undefined) settings[prefix + key] = value.value
      else if (!OBJECTS.test(prefix + key)) expressions[prefix + key] = written
    }
  }
  if (/\.map\s*\(/.test(text) && names.includes("load_dataset")) {
    expressions["dataset.map"] = "the rows are made by code"
  }
  const loaded = LOADED.exec(text)?.[1]?.trim()
  const model = loaded === undefined ? undefined : (pythonLiteral(loaded) ?? constants.get(loaded))
  if (typeof settings["trainer.model"] !== "string" && typeof model?.value === "string")
    settings["trainer.model"] = model.value
  // a trainer's model given as an object says nothing; a name is the model
  if (typeof settings["trainer.model"] !== "string") delete settings["trainer.model"]
  delete expressions["trainer.model"]
  if (names.some((name) => TRAINING.test(name))) return { settings, names, expressions }
  const classes = Object.keys(CALLS).filter((name) => CALLS[name] === "")
  const parsed = /TrlParser|HfArgumentParser/.test(text)
    ? "; its settings come from the command line, so give that command, or its YAML, instead"
    : ""
  throw new InputError(
    `${file}: expected a call of ${classes.slice(0, 4).join(", ")} or the like; found none${parsed}`,
  )
}

/** The first model that a script loads; a reference, where it has one, is loaded after it. */
const LOADED =
  /\bAutoModel(?:ForCausalLM)?\s*\.\s*from_pretrained\s*\(\s*(?:pretrained_model_name_or_path\s*=\s*)?([^,()]+)/

const withoutComments = (text: string): string =>
  text.replaceAll(/("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|#[^\n]*/g, (_, string) => string ?? "")

/** `NAME = literal` at the start of a line, set once. */
function constantsOf(text: string): Map<string, { readonly value: unknown }> {
  const found = new Map<string, { readonly value: unknown }>()
  const twice = new Set<string>()
  for (const match of text.matchAll(/^([A-Za-z_]\w*)\s*(?::\s*\w+\s*)?=(?!=)\s*([^\n]+?)\s*$/gm)) {
    const [, name, written] = match
    const value = pythonLiteral(written!)
    if (found.has(name!)) twice.add(name!)
    if (value !== undefined) found.set(name!, value)
  }
  for (const name of twice) found.delete(name)
  return found
}

/**
 * The arguments' texts from just after the opening parenthesis, split at commas outside brackets
 * and strings; undefined where nothing closes it.
 */
function callArguments(text: string, start: number): string[] | undefined {
  const found: string[] = []
  let [depth, from] = [0, start]
  for (let at = start; at < text.length; at++) {
    const character = text[at]!
    if (character === '"' || character === "'") at = stringEnd(text, at)
    else if ("([{".includes(character)) depth += 1
    else if (depth > 0 && ")]}".includes(character)) depth -= 1
    else if (depth === 0 && (character === "," || character === ")")) {
      found.push(text.slice(from, at))
      from = at + 1
      if (character === ")") return found
    }
  }
  return undefined
}

/** Where a string ends: at three quotes if it begins with three, else in its own line. */
function stringEnd(text: string, start: number): number {
  const quote = text[start]!
  const isLong = text.startsWith(quote.repeat(3), start)
  const closing = isLong ? quote.repeat(3) : quote
  for (let at = start + closing.length; at < text.length; at++) {
    if (text[at] === "\\") at += 1
    else if (text.startsWith(closing, at)) return at + closing.length - 1
    else if (text[at] === "\n" && !isLong) return text.length
  }
  return text.length
}

/**
 * A number, string, True, False, None, or a list, tuple or dict of them; undefined for anything
 * else.
 */
function pythonLiteral(text: string): { readonly value: unknown } | undefined {
  if (/^(True|False|None)$/.test(text)) {
    return { value: text === "None" ? null : text === "True" }
  }
  const number = text.replaceAll("_", "")
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(number)) return { value: Number(number) }
  const string = /^("((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)')$/.exec(text)
  if (string !== null) {
    return { value: (string[2] ?? string[3] ?? "").replaceAll(/\\(["'\\])/g, "$1") }
  }
  if (/^[[(][\s\S]*[\])]$/.test(text)) {
    const values = itemsOf(text).map((item) => pythonLiteral(item))
    return values.includes(undefined) ? undefined : { value: values.map((item) => item!.value) }
  }
  if (/^\{[\s\S]*\}$/.test(text)) return dictOf(text)
  return undefined
}

const itemsOf = (text: string): string[] =>
  (callArguments(`${text.slice(1, -1)})`, 0) ?? [])
    .map((item) => item.trim())
    .filter((item) => item !== "")

function dictOf(text: string): { readonly value: unknown } | undefined {
  const entries: [string, unknown][] = []
  for (const item of itemsOf(text)) {
    const pair = /^("[^"]*"|'[^']*')\s*:\s*([\s\S]+)$/.exec(item)
    const value = pair ? pythonLiteral(pair[2]!.trim()) : undefined
    if (!pair || value === undefined) return undefined
    entries.push([pair[1]!.slice(1, -1), value.value])
  }
  return { value: Object.fromEntries(entries) }
}

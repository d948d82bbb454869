/**
 * `dftune init --from FILE`: another trainer's config as a dftune.yaml, with all that did not carry
 * over.
 */
import { stringify } from "yaml"
import { parseConfig } from "../config/parse-config.ts"
import { configFields } from "../config/schema.ts"
import { InputError } from "../errors.ts"
import { isObject } from "../formats/json.ts"
import { type Draft, type Note, type Peer, put } from "./draft.ts"
import { PEERS } from "./peers.ts"
import { readSource, type Source } from "./source.ts"

export interface ImportedConfig {
  /** The trainer whose config it was. */
  readonly peer: string
  /** A valid dftune.yaml; its first lines list the notes. */
  readonly yaml: string
  /** What did not carry over, or changed on the way. */
  readonly notes: readonly Note[]
}

export interface ImportOptions {
  /** For the format, which its name tells, and messages. */
  readonly file: string
  /** A path of the file as it is to be written; as it stands when left out. */
  readonly pathOf?: (path: string) => string
}

/**
 * Translates a config of TRL, Unsloth, LLaMA-Factory, axolotl, ms-swift, verl or mlx-lm: YAML,
 * JSON, Python keyword arguments or a command line, told apart by `file`'s name and by the keys.
 * The peer's own defaults are written out, so that the run means the same.
 *
 * @throws InputError when no peer is recognised, or when what the file does is no training that is
 * done here
 */
export function importConfig(text: string, { file, pathOf }: ImportOptions): ImportedConfig {
  const read = readSource(text, file)
  const peer = peerOf(read, file)
  const source = peer.prepare?.(read) ?? read
  const refused = peer.refuses?.(source)
  if (refused !== undefined) throw new InputError(`${file}: ${peer.name}: ${refused}`)
  const draft: Draft = {
    config: {},
    notes: [],
    perDevice: 1,
    accumulation: 1,
    warmupSteps: undefined,
    lora: {},
    useLora: false,
    objective: { name: "sft" },
  }
  const { settings } = source
  for (const [key, value] of orderedSettings(peer, source)) {
    const rule = Object.hasOwn(peer.rules, key) ? peer.rules[key] : undefined
    // An unknown key that is empty or off changes nothing.
    const off = value === null || value === false || value === ""
    const text = rule !== undefined ? rule(value, draft, key) : off ? undefined : "not known here"
    if (text !== undefined && key in settings) draft.notes.push({ key, value, text })
  }
  for (const [key, value] of Object.entries(source.expressions)) {
    draft.notes.push({ key, value, text: "an expression, and nothing is run: set it by hand" })
  }
  if ((source.commands ?? 1) > 1) {
    const text = "commands are in the file; the first that trains was read"
    draft.notes.push({ key: "commands", value: source.commands, text })
  }
  finish(draft, peer, source)
  withinBounds(draft)
  if (pathOf) placePaths(draft.config, pathOf)
  const config = ordered(draft.config)
  parseConfig(config, () => `${file}, as imported: `)
  return { peer: peer.name, yaml: yamlText(config, draft.notes, peer, file), notes: draft.notes }
}

/** The model and the rows, where they are paths. */
function placePaths(config: Draft["config"], pathOf: (path: string) => string): void {
  const place = (holder: unknown, key: string) => {
    if (!isObject(holder)) return
    const at = holder as Record<string, unknown>
    const value = at[key]
    if (typeof value === "string") at[key] = pathOf(value)
    else if (Array.isArray(value)) for (const entry of value) place(entry, "path")
  }
  place(config, "model")
  place(config.data, "train")
  place(config.data, "eval")
  place(config.adapter, "path")
}

/**
 * A value out of the schema's bounds is left out and noted; it must not cost the rest of the file.
 */
function withinBounds({ config, notes }: Draft): void {
  const found = configFields.safeParse(config)
  for (const { path, message } of found.success ? [] : found.error.issues) {
    const key = String(path[0])
    if (path.length !== 1 || NEEDED.has(key) || !(key in config)) continue
    notes.push({ key, value: config[key], text: `not possible here (${message}); left out` })
    delete config[key]
  }
}

/** Without these there is no run; what is wrong with them is an error. */
const NEEDED: ReadonlySet<string> = new Set(["model", "data", "objective", "adapter"])

function peerOf({ settings, names, expressions }: Source, file: string): Peer {
  const keys = new Set([...Object.keys(settings), ...Object.keys(expressions)])
  const peer = PEERS.find(({ owns }) => owns(keys, names))
  if (peer !== undefined) return peer
  const other = OTHERS.find(({ pattern }) => pattern.test(JSON.stringify(settings)))
  if (other !== undefined) {
    throw new InputError(`${file}: a config of ${other.name}, which is not read; ${KNOWN_PEERS}`)
  }
  const seen = [...keys].slice(0, 6).join(", ")
  throw new InputError(`${file}: ${KNOWN_PEERS}; recognised none by its keys (${seen})`)
}

const KNOWN_PEERS = `expected a config of ${PEERS.map(({ name }) => name).join(", ")}`
/** Trainers that are told apart and not read. */
const OTHERS: readonly { readonly name: string; readonly pattern: RegExp }[] = [
  { name: "torchtune", pattern: /"_component_":"torchtune/ },
  {
    name: "Accelerate's launcher (how many processes, not what they train)",
    pattern: /"compute_environment"/,
  },
  { name: "DeepSpeed", pattern: /"zero_optimization"/ },
  { name: "NeMo", pattern: /"_target_":"nemo/ },
]

/**
 * Defaults first, then what the file says, in the order of the rules: fields of sources follow the
 * sources.
 */
function orderedSettings(
  { rules, defaults: theirs }: Peer,
  source: Source,
): [key: string, value: unknown][] {
  const { settings, expressions } = source
  const defaults = typeof theirs === "function" ? theirs(source) : theirs
  const place = new Map(Object.keys(rules).map((key, index) => [key, index]))
  const given = Object.entries(settings).sort(([a], [b]) => {
    return (place.get(a) ?? Infinity) - (place.get(b) ?? Infinity) || 0
  })
  const unset = ([key]: [string, unknown]) => !(key in settings) && !(key in expressions)
  return [...Object.entries(defaults).filter(unset), ...given]
}

/** What depends on several of the peer's keys. */
function finish(draft: Draft, peer: Peer, { settings, devices }: Source): void {
  const { config, notes } = draft
  peer.complete?.(draft, new Set(Object.keys(settings)))
  withoutEvaluations(draft)
  if (config.batch_size === undefined) {
    const { perDevice, accumulation } = draft
    put(draft, "batch_size", perDevice * accumulation * (devices ?? 1))
    const counted = devices === undefined ? "" : ` x ${devices} devices`
    const more = devices === undefined ? "; multiply it by the devices you trained on" : ""
    const text = `${perDevice} a device x ${accumulation} accumulated${counted}${more}`
    notes.push({ key: "batch_size", value: config.batch_size, text })
  }
  if (config.max_steps !== undefined) delete config.num_train_epochs
  if (draft.warmupSteps !== undefined) {
    put(draft, "warmup_steps", draft.warmupSteps)
    delete config.warmup_ratio
  }
  if (config.model === undefined) {
    put(draft, "model", "PATH-OR-HUB-ID")
    notes.push({ key: "model", value: undefined, text: "not found in the file: fill it in" })
  }
  if ((config.data as Record<string, unknown> | undefined)?.train === undefined) {
    put(draft, "data.train", [{ path: "train.jsonl" }])
    notes.push({ key: "data.train", value: undefined, text: "not found in the file: fill it in" })
  }
  const usesLora = draft.useLora || Object.keys(settings).some((key) => /^lora_config\./.test(key))
  if (usesLora) put(draft, "adapter", { type: "lora", ...draft.lora })
  put(draft, "objective", objectiveSettings(draft, peer))
}

/**
 * The best evaluation is asked for where the file says of no rows to evaluate on: those are to be
 * named first.
 */
function withoutEvaluations({ config, notes }: Draft): void {
  const { eval: rows, eval_split: split } = (config.data ?? {}) as Record<string, unknown>
  if ((rows !== undefined || split !== undefined) && config.eval_steps !== 0) return
  for (const key of ["load_best_model_at_end", "early_stopping_patience"]) {
    if (config[key] === undefined) continue
    const text = "needs evaluations on the way: give data.eval and eval_steps, then set it"
    notes.push({ key, value: config[key], text })
    delete config[key]
  }
}

/**
 * Parameters were gathered as "objective parameter"; those of the objective that is on are kept.
 */
function objectiveSettings({ objective }: Draft, { name: peer }: Peer): unknown {
  const name = String(objective.name)
  const own = Object.entries(objective).flatMap(([key, value]) => {
    const [of, parameter] = key.split(" ")
    if (parameter === undefined) return key === "name" ? [] : [[key, value] as const]
    return of === name ? [[parameter, value] as const] : []
  })
  const written = { ...(DEFAULT_PARAMETERS[peer]?.[name] ?? {}), ...Object.fromEntries(own) }
  return Object.keys(written).length === 0 ? name : { name, ...written }
}

/** Defaults of a peer's losses that are not those of the objective here. */
const DEFAULT_PARAMETERS: Readonly<Record<string, Readonly<Record<string, object>>>> = {
  "LLaMA-Factory": { asft: { lambda: 0.1 } },
}

const FIRST_KEYS = ["model", "adapter", "quantization", "data", "objective", "learning_rate"]

function ordered(config: Record<string, unknown>): Record<string, unknown> {
  const keys = [...FIRST_KEYS, ...Object.keys(config).filter((key) => !FIRST_KEYS.includes(key))]
  return Object.fromEntries(
    keys.filter((key) => config[key] !== undefined).map((key) => [key, config[key]]),
  )
}

function yamlText(
  config: Record<string, unknown>,
  notes: readonly Note[],
  peer: Peer,
  file: string,
): string {
  const head = [`Imported from ${file} (${peer.name}).`]
  if (notes.length > 0) head.push("Did not carry over, or changed on the way:")
  head.push(...notes.map((note) => `- ${noteText(note)}`))
  const comment = head.map((line) => `# ${line.replaceAll(/\s+/g, " ")}`).join("\n")
  return `${comment}\n\n${stringify(config, { lineWidth: 0 })}`
}

/** A note as one line: `key: value: reason`. */
export function noteText({ key, value, text }: Note): string {
  const shown = value === undefined ? "" : ` ${JSON.stringify(value).slice(0, 80)}`
  return `${key}${shown}: ${text}`
}

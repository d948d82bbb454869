import { existsSync } from "node:fs"
import { homedir } from "node:os"
import { dirname, extname, isAbsolute, join, resolve } from "node:path"
import { isCollection, isMap, type Node, type ParsedNode } from "yaml"
import { InputError } from "../errors.ts"
import { describeValue, isObject, parseJson, utf8 } from "../formats/json.ts"
import { plainBytes } from "../formats/plain-file.ts"
import { mappingOf, readYaml } from "../formats/yaml-text.ts"
import { importOwnModule } from "../host/own-module.ts"
import { statOf } from "../host/stat.ts"
import type { KeyPath } from "./issues.ts"
import { outputFolder } from "./output-folder.ts"
import { type Locate, parseConfig } from "./parse-config.ts"
import type { Config } from "./resolve-config.ts"
import {
  type Approve,
  checkPrograms,
  configFileOf,
  readRecord,
  recordedConfig,
} from "./run-record.ts"
import { configFields } from "./schema.ts"

/** A config is written by hand; anything larger is the wrong file. */
const MAX_CONFIG_BYTES = 4 * 2 ** 20

export interface LoadConfigOptions {
  /** `key.path=value`, applied in order before the config is checked; values are YAML. */
  readonly set?: readonly string[]
  /** Asks whether programs that a run's own config names may run; without, they are refused. */
  readonly approve?: Approve | undefined
  /** An output_dir that is left out is always the same: each node of a run must find one place. */
  readonly fixedOutput?: boolean
}

/** What stands in a file, unchecked, and where each key of it stands. */
export interface ConfigSource {
  readonly value: unknown
  readonly locate: Locate
}

/**
 * Reads a config: YAML or JSON by its extension, or the default export of a TypeScript or
 * JavaScript module. Paths that exist are made absolute: looked for in the working directory
 * first, then beside the config. A run folder stands for the config that it recorded. Throws an
 * `InputError` with file, line and column.
 */
export async function loadConfig(
  path: string,
  { set = [], approve, fixedOutput = false }: LoadConfigOptions = {},
): Promise<Config> {
  const source = await readSource(configFileOf(path), approve)
  if (isObject(source.value) && source.value.axes !== undefined) {
    throw new InputError(`${path}: is a study, not a config; dftune study ${path} runs it`)
  }
  return configFrom(source, { set, folder: dirname(resolve(path)), fixedOutput })
}

/**
 * Checks a config that was read: `set` is applied first, paths are looked for in the working
 * directory, then in `folder`.
 *
 * @throws InputError with file, line and column
 */
export function configFrom(
  source: ConfigSource,
  {
    set = [],
    folder,
    fixedOutput = false,
  }: Pick<LoadConfigOptions, "set" | "fixedOutput"> & { readonly folder: string },
): Config {
  const overridden = new Map<string, string>()
  if (set.length > 0 && source.value !== null && !isObject(source.value)) {
    throw new InputError(
      `${source.locate([], "value")}expected a config, settings with names, got ${describeValue(source.value)}`,
    )
  }
  const value = withoutExcluded(
    overridden,
    set.reduce((config, assignment) => override(config, assignment, overridden), source.value),
  )
  const locate: Locate = (key, at) => {
    for (let length = key.length; length > 0; length--) {
      const assignment = overridden.get(JSON.stringify(key.slice(0, length).map(String)))
      if (assignment !== undefined) return `--set ${assignment}: `
    }
    return source.locate(key, at)
  }
  const config = withFoundPaths(parseConfig(value, locate), folder)
  if (fixedOutput || (isObject(value) && value.output_dir !== undefined)) return config
  return { ...config, output_dir: outputFolder(config) }
}

/** Of two settings that exclude each other, the one of the command line stands. */
const EXCLUSIVE = [
  ["max_steps", "num_train_epochs"],
  ["warmup_steps", "warmup_ratio"],
] as const

function withoutExcluded(overridden: ReadonlyMap<string, string>, config: unknown): unknown {
  if (typeof config !== "object" || config === null) return config
  const given = (key: string) => overridden.has(JSON.stringify([key]))
  const dropped = EXCLUSIVE.flatMap(([a, b]) => (given(a) === given(b) ? [] : given(a) ? [b] : [a]))
  const left = Object.entries(config).filter(([key]) => !(dropped as string[]).includes(key))
  return Object.fromEntries(left)
}

/**
 * Reads a file of settings without checking them.
 *
 * @throws InputError for a file that is missing, too large or cannot be read
 */
export async function readSource(path: string, approve?: Approve): Promise<ConfigSource> {
  const size = statOf(path)
  if (size === undefined)
    throw new InputError(`${path}: no such config; \`dftune init\` writes one`)
  if (size.isDirectory()) {
    throw new InputError(
      `${path}: expected a config file or a run folder, got a folder with no run in it; give its dftune.yaml`,
    )
  }
  if (size.size > MAX_CONFIG_BYTES) {
    throw new InputError(`${path}: expected a config, got a file of ${size.size} bytes`)
  }
  const record = readRecord(path)
  if (record !== undefined) {
    await checkPrograms(path, record.config, approve)
    return { value: recordedConfig(path, record), locate: () => `${path}: ` }
  }
  const extension = extname(path)
  if ([".yaml", ".yml", ".json"].includes(extension)) return readFile(path)
  if ([".ts", ".mts", ".js", ".mjs"].includes(extension)) return readModule(path)
  throw new InputError(`${path}: expected a config: .yaml, .yml, .json, .ts, .mts, .js or .mjs`)
}

/** JSON is read by the same parser: YAML 1.2 contains it, and it keeps positions. */
function readFile(path: string): ConfigSource {
  const text = utf8(plainBytes(path, MAX_CONFIG_BYTES), path)
  if (extname(path) === ".json" && text.trim() !== "") parseJson(text, path)
  const yaml = readYaml(text, path)
  return {
    value: mappingOf(yaml, path),
    locate: (key, at) => `${path}${yaml.place(offsetOf(yaml.root, key, at))}: `,
  }
}

/**
 * Where `path` stands in the document; of a missing key, where the mapping that lacks it starts.
 */
function offsetOf(root: ParsedNode | null, path: KeyPath, at: "key" | "value"): number | undefined {
  let node: Node | null = root
  let offset = node?.range?.[0]
  for (const [depth, name] of path.entries()) {
    if (!isCollection(node)) return offset
    if (isMap(node) && at === "key" && depth === path.length - 1) {
      const pair = node.items.find(({ key }) => String((key as { value?: unknown }).value) === name)
      return (pair?.key as Node | undefined)?.range?.[0] ?? offset
    }
    node = (node.get(name as string, true) as Node | undefined) ?? null
    offset = node?.range?.[0] ?? offset
  }
  return offset
}

/** The module is the user's own code, named by the user; it may import `dftune` from anywhere. */
async function readModule(path: string): Promise<ConfigSource> {
  let loaded: { readonly default?: unknown }
  try {
    loaded = await importOwnModule(path)
  } catch (error) {
    throw new InputError(`${path}: could not be loaded: ${(error as Error).message}`)
  }
  if (loaded.default === undefined) {
    throw new InputError(
      `${path}: expected \`export default defineConfig({ ... })\`, got no default export`,
    )
  }
  const value: unknown = await loaded.default
  if (typeof value !== "object" || value === null) {
    throw new InputError(`${path}: expected the default export to be a config, got ${typeof value}`)
  }
  return { value, locate: () => `${path}: ` }
}

/** Keys with a short form, and the inner key that the short value sets. */
const SHORT: Readonly<Record<string, string>> = {
  engine: "name",
  objective: "name",
  train: "path",
  eval: "path",
  benchmarks: "path",
  adapter: "type",
}

/** Keys that hold a list, of which one item may stand alone. */
const LISTS: ReadonlySet<string> = new Set(["train", "eval", "benchmarks"])

const DEFAULTS = {
  engine: configFields.shape.engine.parse(undefined),
  objective: configFields.shape.objective.parse(undefined),
}

function override(config: unknown, assignment: string, overridden: Map<string, string>): unknown {
  const equals = assignment.indexOf("=")
  if (equals < 1) throw new InputError(`--set ${assignment}: expected key.path=value`)
  const path = assignment.slice(0, equals).split(".")
  if (path.some((key) => key === "" || key === "__proto__")) {
    throw new InputError(`--set ${assignment}: "${assignment.slice(0, equals)}" is not a key path`)
  }
  const text = assignment.slice(equals + 1)
  // one value has nothing that * could refer to: it is a glob
  const value = text.startsWith("*")
    ? text
    : readYaml(text, `--set ${assignment}`, { placed: false }).value
  overridden.set(JSON.stringify(path), assignment)
  return withValue(config, path, value, "", assignment)
}

function withValue(
  target: unknown,
  [key, ...rest]: readonly string[],
  value: unknown,
  parent: string,
  assignment: string,
): unknown {
  if (key === undefined) return value
  if (LISTS.has(parent) && /^\d+$/.test(key) && !Array.isArray(target)) {
    const list = target === undefined || target === null ? [] : [target]
    return withValue(list, [key, ...rest], value, parent, assignment)
  }
  if (Array.isArray(target)) {
    const index = Number(key)
    if (!Number.isInteger(index) || index < 0 || index > target.length) {
      throw new InputError(
        `--set ${assignment}: expected a number from 0 to ${target.length}, got "${key}"`,
      )
    }
    return target.toSpliced(index, 1, withValue(target[index], rest, value, parent, assignment))
  }
  const short = SHORT[parent]
  const written = target ?? (parent === "engine" || parent === "objective" ? DEFAULTS[parent] : {})
  const mapping =
    typeof written === "string" && short !== undefined
      ? { [short]: written }
      : typeof written === "object"
        ? (written as Record<string, unknown>)
        : {}
  return { ...mapping, [key]: withValue(mapping[key], rest, value, key, assignment) }
}

/** A word that is no setting is a file's path: it ends in .jinja, or is there. */
function foundTemplate(
  template: Config["data"]["template"],
  folder: string,
): Config["data"]["template"] {
  if (typeof template !== "string" || template === "auto" || template === "none") return template
  const path = foundPath(template, folder)
  if (/\.(jinja2?|j2)$/.test(path) || existsSync(path)) return path
  throw new InputError(
    `data.template: expected auto, none, true or the path of a .jinja file, got ${JSON.stringify(template)}, and there is no such file`,
  )
}

function withFoundLibrary(engine: Config["engine"], folder: string): Config["engine"] {
  if (engine.name !== "onnx" || typeof engine.device === "string") return engine
  const library = foundPath(engine.device.library, folder)
  return { ...engine, device: { ...engine.device, library } }
}

function withFoundPaths(config: Config, folder: string): Config {
  const sources = (list: Config["data"]["train"]) =>
    list.map((source) => ({ ...source, path: foundPath(source.path, folder) }))
  const { data } = config
  const template = foundTemplate(data.template, folder)
  return {
    ...config,
    model: foundPath(config.model, folder),
    output_dir: atHome(config.output_dir),
    adapter: config.adapter && {
      ...config.adapter,
      path: config.adapter.path && atHome(config.adapter.path),
    },
    reference: config.reference && atHome(config.reference),
    teacher: config.teacher && {
      ...config.teacher,
      model: config.teacher.model && atHome(config.teacher.model),
    },
    resume: typeof config.resume === "string" ? atHome(config.resume) : config.resume,
    engine: withFoundLibrary(config.engine, folder),
    rollout: config.rollout && {
      ...config.rollout,
      environment: config.rollout.environment && {
        ...config.rollout.environment,
        module: foundPath(config.rollout.environment.module, folder),
      },
      rewards: config.rollout.rewards.map((reward) =>
        reward.module !== undefined
          ? { ...reward, module: foundPath(reward.module, folder) }
          : reward.model !== undefined
            ? { ...reward, model: foundPath(reward.model, folder) }
            : reward,
      ),
    },
    data: {
      ...data,
      template,
      train: sources(data.train),
      eval: sources(data.eval),
      benchmarks: sources(data.benchmarks),
    },
  }
}

/** `~/x` in a file is the shell's in no shell: a folder of that name is never meant. */
export const atHome = (path: string): string =>
  /^~[\\/]/.test(path) ? join(homedir(), path.slice(2)) : path

/**
 * Absolute when the path exists, in the working directory or in `folder` (of a glob: the part
 * before its first pattern); else as it was.
 */
export function foundPath(given: string, folder: string): string {
  const path = atHome(given)
  if (isAbsolute(path)) return path
  const parts = path.split("/")
  const pattern = parts.findIndex((part) => /[*?[\]{}]/.test(part))
  const plain = pattern === -1 ? path : parts.slice(0, pattern).join("/")
  const base = [process.cwd(), folder].find((candidate) => existsSync(join(candidate, plain)))
  return base === undefined ? path : join(base, path)
}

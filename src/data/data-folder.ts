import { existsSync, readdirSync, statSync } from "node:fs"
import { join } from "node:path"
import { didYouMean } from "../closest-name.ts"
import { InputError } from "../errors.ts"
import { isObject } from "../formats/json.ts"
import { plainText } from "../formats/plain-file.ts"
import { readYaml } from "../formats/yaml-text.ts"
import { globFiles, isGlob } from "./glob.ts"
import { rowFileKind } from "./row-files.ts"

export interface FolderPart {
  /** A configuration that the README names. */
  readonly name: string | undefined
  readonly split: string | undefined
}

/**
 * The row files of a data set's folder, as `datasets` finds them: those that its README names, what
 * `save_to_disk` wrote, or the files in it and in its `data` folder whose names hold the split.
 *
 * @throws InputError naming what is there instead
 */
export function folderFiles(folder: string, part: FolderPart): string[] {
  const named = readmeConfigs(folder)
  if (named !== undefined) return configFiles(folder, named, part)
  if (part.name !== undefined) {
    throw new InputError(`${folder}: has no README.md with configs, so no "${part.name}" either`)
  }
  if (existsSync(join(folder, "dataset_dict.json"))) return savedSplit(folder, part.split)
  const files = [folder, join(folder, "data")].flatMap(rowFilesIn)
  if (files.length > 0) return ofSplit(folder, files, part.split)
  throw new InputError(
    `${folder}: expected a file, got a folder without row files (.jsonl, .json, .csv, .parquet, .arrow) in it; it holds ${entriesIn(folder)}`,
  )
}

/** Files that are about a data set, not of it. */
const ABOUT = /^(dataset_infos?|dataset_dict|state|config|package(-lock)?|tsconfig)\.json$/

function rowFilesIn(folder: string): string[] {
  if (!existsSync(folder) || !statSync(folder).isDirectory()) return []
  return readdirSync(folder, { withFileTypes: true })
    .filter(
      (entry) => !entry.isDirectory() && !entry.name.startsWith(".") && !ABOUT.test(entry.name),
    )
    .map(({ name }) => join(folder, name))
    .filter((path) => rowFileKind(path) !== undefined)
    .sort()
}

function entriesIn(folder: string): string {
  const names = readdirSync(folder)
  if (names.length === 0) return "nothing"
  return `${names.slice(0, 8).join(", ")}${names.length > 8 ? ", ..." : ""}`
}

const DEFAULT_SPLIT = "train"
/** What the hub calls the splits of files without a README. */
const SPLITS = {
  train: "train(ing)?",
  test: "test(ing)?|eval(uation)?",
  validation: "val(id(ation)?)?|dev",
}

const namesSplit = (path: string, split: string): boolean => {
  const words = Object.hasOwn(SPLITS, split) ? SPLITS[split as keyof typeof SPLITS] : escaped(split)
  return new RegExp(`(^|[^a-z])(${words})([^a-z]|$)`, "i").test(path.split(/[/\\]/).at(-1)!)
}

const escaped = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")

/** Without a split in any name all files are the training rows. */
function ofSplit(folder: string, files: readonly string[], asked: string | undefined): string[] {
  const split = asked ?? DEFAULT_SPLIT
  const found = files.filter((path) => namesSplit(path, split))
  if (found.length > 0) return found
  const others = files.filter((path) =>
    Object.keys(SPLITS).some((other) => namesSplit(path, other)),
  )
  if (others.length === 0 && split === DEFAULT_SPLIT) return [...files]
  throw new InputError(
    `${folder}: no file of it is named for the split "${split}"; it holds ${entriesIn(folder)} (write split:, or name the file)`,
  )
}

/** A folder for each split, as `save_to_disk` writes a DatasetDict. */
function savedSplit(folder: string, asked: string | undefined): string[] {
  const split = asked ?? DEFAULT_SPLIT
  const files = rowFilesIn(join(folder, split))
  if (files.length > 0) return files
  const splits = readdirSync(folder).filter((name) => rowFilesIn(join(folder, name)).length > 0)
  throw new InputError(
    `${folder}: has no split "${split}"${didYouMean(split, splits)}; it has ${splits.join(", ") || "none"}`,
  )
}

interface ReadmeConfig {
  readonly name: string
  readonly isDefault: boolean
  /** Patterns below the folder, by split. */
  readonly files: ReadonlyMap<string, readonly string[]>
}

/** `configs` of the YAML that a data set's README begins with; undefined where it has none. */
function readmeConfigs(folder: string): ReadmeConfig[] | undefined {
  const path = join(folder, "README.md")
  if (!existsSync(path)) return undefined
  const header = /^---(\r?\n[\s\S]*?)\r?\n---/.exec(plainText(path))?.[1]
  if (header === undefined) return undefined
  const { value } = readYaml(header, path)
  if (!isObject(value) || !Array.isArray(value.configs)) return undefined
  return value.configs.filter(isObject).map((config) => ({
    name: String(config.config_name ?? "default"),
    isDefault: config.default === true || config.config_name === "default",
    files: patternsOf(config.data_files),
  }))
}

/** A pattern, a list of them, or one a split: the three ways of writing `data_files`. */
function patternsOf(given: unknown): Map<string, string[]> {
  const listed = (value: unknown) => [value].flat().filter((item) => typeof item === "string")
  const patterns = new Map<string, string[]>()
  const entries = Array.isArray(given) ? given.filter(isObject) : []
  for (const { split, path } of entries) patterns.set(String(split), listed(path))
  if (isObject(given))
    for (const [split, path] of Object.entries(given)) patterns.set(split, listed(path))
  if (patterns.size === 0 && listed(given).length > 0) patterns.set(DEFAULT_SPLIT, listed(given))
  return patterns
}

function configFiles(
  folder: string,
  configs: readonly ReadmeConfig[],
  { name, split = DEFAULT_SPLIT }: FolderPart,
): string[] {
  const names = configs.map((config) => config.name)
  const config =
    name === undefined
      ? (configs.find(({ isDefault }) => isDefault) ??
        (configs.length === 1 ? configs[0] : undefined))
      : configs.find((candidate) => candidate.name === name)
  if (config === undefined) {
    throw new InputError(
      `${folder}/README.md: ${name === undefined ? "several configs and none is the default; choose one with name:" : `no config "${name}"${didYouMean(name, names)}`} (${names.join(", ")})`,
    )
  }
  const patterns = config.files.get(split)
  if (patterns === undefined) {
    const splits = [...config.files.keys()]
    throw new InputError(
      `${folder}/README.md: config "${config.name}" has no split "${split}"${didYouMean(split, splits)} (${splits.join(", ")})`,
    )
  }
  const files = patterns.flatMap((pattern) => below(folder, pattern))
  if (files.length > 0) return files
  throw new InputError(
    `${folder}/README.md: no file matches ${patterns.join(", ")} of config "${config.name}", split "${split}"`,
  )
}

/** Files of a pattern, none of them outside of the folder. */
function below(folder: string, pattern: string): string[] {
  const parts = pattern.split(/[/\\]/)
  if (pattern.startsWith("/") || parts.includes("..")) {
    throw new InputError(`${folder}/README.md: the pattern ${pattern} leaves the folder`)
  }
  const path = join(folder, pattern)
  if (existsSync(path)) return statSync(path).isDirectory() ? rowFilesIn(path) : [path]
  if (!isGlob(pattern)) return []
  return globFiles(path).filter((found) => rowFileKind(found) !== undefined)
}

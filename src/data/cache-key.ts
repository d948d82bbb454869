import { createHash } from "node:crypto"
import { existsSync } from "node:fs"
import { join } from "node:path"
import type { LeaveOut } from "../config/index.ts"
import { fileHash } from "../formats/file-hash.ts"
import { plainText } from "../formats/plain-file.ts"
import { TOOL_TEMPLATE_FILE } from "../text/model-chat-template.ts"
import type { BatchSetup } from "./batch.ts"
import { PREPARED_VERSION } from "./prepared.ts"
import { resolveSources, type Source } from "./sources.ts"

/** Raised whenever the same input would give other rows, masks, classes or lints. */
const RENDERING_VERSION = 6

/** Files of a model folder that decide tokens, masks, or which EOS the model knows. */
const TOKENIZER_FILES = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
]
const TEMPLATE_FILES = ["chat_template.jinja", "chat_template.json", TOOL_TEMPLATE_FILE]
const STOP_FILES = ["generation_config.json", "config.json"]

export interface CacheKey {
  /** SHA-256, in hexadecimal, of everything the rows depend on. */
  readonly key: string
  /** Of the tokenizer's files. */
  readonly tokenizer: string
  /**
   * Of the template, where it is a file of its own; otherwise it is part of tokenizer_config.json.
   */
  readonly template: string | null
  readonly options: Readonly<Record<string, unknown>>
  readonly files: readonly { readonly path: string; readonly sha256: string }[]
}

interface KeyParts {
  readonly setup: BatchSetup
  readonly sources: readonly Source[]
  readonly leaveOut?: LeaveOut | undefined
  readonly onBadRow: "error" | "skip"
  readonly signal?: AbortSignal | undefined
}

/** Hashes the content of every file that matters, and every option. */
export async function cacheKey(parts: KeyParts): Promise<CacheKey> {
  const { setup, sources, leaveOut, onBadRow, signal } = parts
  const { tokenizer: folder, templateFile, pictures, ...rest } = setup
  // where bytes are kept changes no row; without eyes the key is the one that earlier versions gave
  const seen = pictures && { pictures: { ...pictures, store: undefined } }
  const options = { ...rest, ...seen }
  const tokenizer = await filesHash(folder, TOKENIZER_FILES)
  const template =
    templateFile !== null ? await fileHash(templateFile) : await filesHash(folder, TEMPLATE_FILES)
  const stops = STOP_FILES.map((file) => [file, eosOf(join(folder, file))])
  const { files, rows } = await hashedSources(sources, signal)
  const all = {
    version: [PREPARED_VERSION, RENDERING_VERSION],
    tokenizer,
    template,
    stops,
    options,
    onBadRow,
    rows,
    ...(leaveOut ? { leaveOut: await leaveOutKey(leaveOut, signal) } : {}),
  }
  return {
    key: createHash("sha256").update(JSON.stringify(all)).digest("hex"),
    tokenizer,
    template: template === EMPTY ? null : template,
    options: { ...options, on_bad_row: onBadRow },
    files,
  }
}

/**
 * The key that dftune 0.1.0 gave to the same files and settings: by it a run that it made knows its
 * rows.
 */
export async function keyOf010({ setup, sources, onBadRow, signal }: KeyParts): Promise<string> {
  const {
    tokenizer: folder,
    templateFile,
    plainTexts,
    purpose,
    format,
    supervise,
    maxLength,
  } = setup
  const { rows } = await hashedSources(sources, signal)
  const all = {
    version: [1, 2],
    tokenizer: await filesHash(folder, TOKENIZER_FILES),
    template:
      templateFile !== null
        ? await fileHash(templateFile)
        : await filesHash(folder, TEMPLATE_FILES),
    stops: STOP_FILES.map((file) => [file, eosOf(join(folder, file))]),
    options: { templateForPlain: plainTexts === "all", purpose, format, supervise, maxLength },
    onBadRow,
    rows,
  }
  return createHash("sha256").update(JSON.stringify(all)).digest("hex")
}

async function hashedSources(sources: readonly Source[], signal: AbortSignal | undefined) {
  const files: { readonly path: string; readonly sha256: string }[] = []
  const rows: unknown[] = []
  for (const { files: ofSource, weight, maxRows, shuffleSeed, noise } of sources) {
    const hashed: unknown[] = []
    for (const { path, kind } of ofSource) {
      const sha256 = await fileHash(path, signal)
      hashed.push([path, kind, sha256])
      files.push({ path, sha256 })
    }
    const chosen = { weight, maxRows: maxRows ?? null, shuffleSeed: shuffleSeed ?? null }
    rows.push({ files: hashed, ...chosen, ...(noise ? { noise } : {}) })
  }
  return { files, rows }
}

/** Benchmarks count by their content, where they are looked at. */
async function leaveOutKey(leaveOut: LeaveOut, signal: AbortSignal | undefined) {
  const { near_duplicates, decontaminate } = leaveOut
  const asked = decontaminate ? await resolveSources(leaveOut.benchmarks, { signal }) : []
  const { rows } = await hashedSources(asked, signal)
  return { near_duplicates, decontaminate, benchmarks: rows }
}

const EMPTY = createHash("sha256").digest("hex")

async function filesHash(folder: string, names: readonly string[]): Promise<string> {
  const hash = createHash("sha256")
  for (const name of names) {
    const path = join(folder, name)
    if (existsSync(path)) hash.update(`${name}\0${await fileHash(path)}\0`)
  }
  return hash.digest("hex")
}

/** Only the EOS ids: a checkpoint's config.json has other keys that no row depends on. */
function eosOf(path: string): unknown {
  if (!existsSync(path)) return null
  try {
    return (JSON.parse(plainText(path)) as { eos_token_id?: unknown }).eos_token_id ?? null
  } catch {
    return "unreadable" // said with its name when the ids are read
  }
}

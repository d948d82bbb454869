import { existsSync } from "node:fs"
import { dirname } from "node:path"
import { isDeepStrictEqual } from "node:util"
import { InputError } from "../errors.ts"
import { makeFolder, writeFileAtomic } from "../formats/atomic.ts"
import { isObject, type JsonObject, parseJson } from "../formats/json.ts"
import { readTextFile } from "../formats/json-files.ts"
import { openLineFile } from "../formats/line-file.ts"
import { checkOutputFile, type ReadPlace } from "../host/output-place.ts"
import type { PromptRow } from "./prompt-rows.ts"
import { claimOrigin, type SampleOrigin } from "./sample-origin.ts"
import type { Sample } from "./sample-source.ts"

/** The largest file of samples that is read back. */
const MAX_BYTES = 500e6

/**
 * A row of `dftune generate`: the prompt's fields and the sample's (docs/generation.md).
 *
 * @param made what made the sample: a model of this machine has a precision, a server's has none
 */
export function sampleRow(
  fields: JsonObject,
  sample: Sample,
  { dtype }: { readonly dtype?: unknown } = {},
): JsonObject {
  return {
    ...fields,
    completion: sample.completion,
    token_ids: sample.tokenIds,
    logprobs: sample.logprobs,
    finish_reason: sample.finishReason,
    seed: sample.seed,
    ...(dtype === undefined ? {} : { dtype }),
    ...(sample.reasoning === undefined ? {} : { reasoning_content: sample.reasoning }),
    ...(sample.error === undefined ? {} : { error: sample.error }),
  }
}

/** Rows that say what went wrong are tried again by the next call; a prompt too long stays so. */
const isRefused = (row: JsonObject): boolean => row.finish_reason === "error"

export interface SamplePlan {
  readonly rows: readonly PromptRow[]
  /** Samples of each row. */
  readonly n: number
  /** Sample i of row r has the seed `seed + r n + i`: by its seed a row of the file is known. */
  readonly seed: number
  /** Files that the file of samples must not be. */
  readonly reads?: readonly ReadPlace[]
  /** What makes the samples; a file that something else made is refused. */
  readonly origin?: SampleOrigin
  readonly onNotice?: (message: string) => void
}

/** A file of samples that grows by whole lines and can be continued. */
export interface SampleFile {
  /** Seeds that are there already. */
  readonly done: ReadonlySet<number>
  append(row: JsonObject): void
  /** All samples are there: puts them in the order of the prompts, atomically. */
  finish(): Promise<void>
  close(): void
}

interface Found {
  readonly lines: Map<number, string>
  /** Bytes of whole lines. */
  readonly bytes: number
  /** Seeds of samples that a server refused. */
  readonly refused: Set<number>
}

/** Samples of a file by seed; a last line without its newline is a write that was cut off. */
async function readSamples(path: string, plan: SamplePlan): Promise<Found> {
  const lines = new Map<number, string>()
  const refused = new Set<number>()
  const text = existsSync(path) ? await readTextFile(path, MAX_BYTES) : ""
  const whole = text.slice(0, text.lastIndexOf("\n") + 1)
  const samples = whole.split("\n").filter((line) => line.trim() !== "").length
  if (plan.origin) await claimOrigin(path, plan.origin, samples, plan.onNotice)
  for (const [i, line] of whole.split("\n").entries()) {
    if (line.trim() === "") continue
    const where = `${path}:${i + 1}`
    const row = parseJson(line, where)
    const seed = isObject(row) ? row.seed : undefined
    const index = typeof seed === "number" ? seed - plan.seed : -1
    const asked = plan.rows[Math.floor(index / plan.n)]?.fields
    const same = asked && isObject(row) && isSampleOf(row, asked)
    if (!same || !Number.isInteger(index)) {
      throw new InputError(
        `${where}: this row is no sample of these prompts with --n ${plan.n} --seed ${plan.seed}: ` +
          `${otherwise(row, asked)}, so the file cannot be continued. Give another --out, or remove the file`,
      )
    }
    lines.set(seed as number, line)
    if (isRefused(row)) refused.add(seed as number)
    else refused.delete(seed as number)
  }
  return { lines, bytes: Buffer.byteLength(whole), refused }
}

const OWN = new Set(
  "completion token_ids logprobs finish_reason seed dtype reasoning_content error".split(" "),
)

/** What of the row is not as it would be. */
function otherwise(row: unknown, asked: JsonObject | undefined): string {
  if (!isObject(row) || asked === undefined) return "its seed belongs to no row of theirs"
  const key = Object.keys(asked).find(
    (name) => !OWN.has(name) && !isDeepStrictEqual(row[name], asked[name]),
  )
  if (key === undefined) return "its seed belongs to no row of theirs"
  const [there, here] = [row[key], asked[key]].map((value) =>
    value === undefined ? "nothing" : JSON.stringify(value).slice(0, 80),
  )
  return `"${key}" is ${there} there, ${here} now`
}

function isSampleOf(row: JsonObject, asked: JsonObject): boolean {
  const foreign = Object.entries(asked).filter(([key]) => !OWN.has(key))
  return foreign.every(([key, value]) => isDeepStrictEqual(row[key], value))
}

/** A first row that a kill cut off: it begins as a row and is none. */
function isTornRow(head: string): boolean {
  if (!head.startsWith("{")) return false
  try {
    JSON.parse(head)
    return false
  } catch {
    return true
  }
}

/**
 * Opens the file for more samples: a torn last line is cut off, the others are kept.
 *
 * @throws InputError when it holds samples of something else
 */
export async function openSampleFile(path: string, plan: SamplePlan): Promise<SampleFile> {
  checkOutputFile(path, {
    option: "--out",
    reads: plan.reads ?? [],
    // whole rows are looked at one by one below
    wrote: (head) => head.includes("\n") || isTornRow(head),
    writer: "dftune generate",
  })
  makeFolder(dirname(path))
  const { lines, bytes, refused } = await readSamples(path, plan)
  const file = openLineFile(path, bytes)
  return {
    done: new Set([...lines.keys()].filter((seed) => !refused.has(seed))),
    append(row) {
      const line = JSON.stringify(row)
      file.append(line)
      lines.set(row.seed as number, line)
    },
    async finish() {
      file.flush()
      file.close()
      const ordered = [...lines].sort(([a], [b]) => a - b).map(([, line]) => `${line}\n`)
      await writeFileAtomic(path, ordered.join(""))
    },
    close: () => file.close(),
  }
}

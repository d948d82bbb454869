/** `dftune grade`: which samples are right, and what is made of them for training. */
import { InputError } from "../errors.ts"
import type { JsonObject } from "../formats/json.ts"
import { checkBounds, checkWord } from "../generate/sampling-bounds.ts"
import { MODES, type Mode } from "../grading/index.ts"
import type { Told } from "../host/told.ts"
import { type GradeSummary, gradeFile } from "./grade-file.ts"
import { PAIRINGS, type Pairing } from "./preference-rows.ts"

export interface GradeOptions extends Pick<Told, "signal" | "onProgress"> {
  /** How answers are judged; lenient if left out. */
  readonly mode?: Mode | undefined
  /** Only these rows. */
  readonly keep?: "correct" | undefined
  /** Preference rows: `best` (also `true`), one a prompt, or `all`. */
  readonly pairs?: Pairing | boolean | undefined
  /** Rows with a label, for kto. */
  readonly labels?: boolean | undefined
  /** Rows or pairs of a prompt at most. */
  readonly maxPerPrompt?: number | undefined
  /** With `keep` and `labels`: a prompt's repeated completions once. */
  readonly dedupe?: boolean | undefined
  /** With `keep`: as many rows from each quarter of difficulty. */
  readonly balance?: boolean | undefined
  /** Of the draws that `balance`, `pairs` and `labels` make. */
  readonly seed?: number | undefined
  /** JSONL to write. */
  readonly out?: string | undefined
  /** Gets the rows one by one; they are then not held. */
  readonly onRow?: ((row: JsonObject) => void) | undefined
}

export interface GradeResult extends GradeSummary {
  readonly out?: string
  readonly mode: Mode
  /** The rows, where they go to no file and to no `onRow`. */
  readonly graded?: readonly JsonObject[]
}

/**
 * Grades a file of samples, `completion` against `answer`, and writes or returns the rows that were
 * asked for.
 *
 * @throws InputError for options that do not go together, and naming file and line of a row without
 * completion or answer
 */
export async function grade(path: string, options: GradeOptions = {}): Promise<GradeResult> {
  checkTogether(options)
  const { mode = "lenient", keep, pairs, labels, maxPerPrompt, dedupe = false } = options
  const { balance = false, seed = 0, out, onRow, signal, onProgress } = options
  const pairing = pairs === true ? "best" : pairs
  const graded: JsonObject[] = []
  const summary = await gradeFile(path, {
    mode,
    keep: keep && { dedupe, maxPerPrompt, balance, seed },
    pairs: pairing ? { pairing, maxPerPrompt, seed } : undefined,
    labels: labels ? { dedupe, maxPerPrompt, seed } : undefined,
    out: out ?? onRow ?? ((row) => void graded.push(row)),
    ...(signal ? { signal } : {}),
    onProgress: (count) => onProgress?.(`${count} graded`),
  })
  const held = out === undefined && onRow === undefined
  return { ...(out === undefined ? {} : { out }), mode, ...summary, ...(held ? { graded } : {}) }
}

function checkTogether(options: GradeOptions): void {
  const { keep, pairs, labels, maxPerPrompt, dedupe, balance, mode } = options
  const kinds = [keep && "--keep", pairs && "--pairs", labels && "--labels"].filter(Boolean)
  if (kinds.length > 1) throw new InputError(`${kinds.join(" and ")}: expected one of them`)
  if (maxPerPrompt !== undefined && kinds.length === 0) {
    throw new InputError("--max-per-prompt needs --keep correct, --pairs all or --labels")
  }
  if (dedupe && !keep && !labels) throw new InputError("--dedupe needs --keep correct or --labels")
  if (balance && !keep) throw new InputError("--balance needs --keep correct")
  checkWord("mode", mode, MODES)
  checkWord("keep", keep, ["correct"])
  if (typeof pairs === "string") checkWord("pairs", pairs, PAIRINGS)
  checkBounds(options)
}

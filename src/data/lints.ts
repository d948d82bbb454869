import type { Purpose } from "./row-shapes.ts"

/** Something about the data that the user should know before step 1. */
export interface Lint {
  readonly code: LintCode
  /** An error stops the run before it starts. */
  readonly severity: "error" | "warning"
  readonly message: string
  readonly hint: string
  /** Rows it is about. */
  readonly count: number
  /** The first of them, as file:line. */
  readonly examples: readonly string[]
}

/** What is noticed of single rows while they are tokenised. */
export const ROW_NOTES = [
  "truncated",
  "truncated-eos",
  "unknown-eos",
  "double-bos",
  "dropped-role",
  "empty-answer",
] as const
export type RowNote = (typeof ROW_NOTES)[number]

export type LintCode =
  | RowNote
  | "no-supervised-tokens"
  | "dropped-rows"
  | "bad-rows"
  | "empty-source"
  | "few-supervised-tokens"
  | "duplicate-rows"
  | "eval-overlap"
  | "benchmark-overlap"

/** Examples kept of each kind. */
export const MAX_EXAMPLES = 5
/** Below this share of supervised tokens most of the compute goes to prompts. */
const FEW_SUPERVISED = 0.05

const plural = (count: number, noun: string) =>
  `${count.toLocaleString("en-US")} ${noun}${count === 1 ? "" : "s"}`
const percent = (share: number) => `${(100 * share).toFixed(share < 0.01 ? 2 : 1)} %`

const NOTE_LINTS: Readonly<
  Record<RowNote, { message: (rows: string, maxLength: number) => string; hint: string }>
> = {
  truncated: {
    message: (rows, maxLength) =>
      `${rows} longer than data.max_length ${maxLength} and cut on the right`,
    hint: "raise data.max_length if they matter",
  },
  "truncated-eos": {
    message: (rows) =>
      `${rows} lost the end-of-turn token to truncation: they teach the model not to stop`,
    hint: "raise data.max_length, or leave long rows out",
  },
  "unknown-eos": {
    message: (rows) =>
      `${rows} whose last trained token is no end-of-sequence token that the model knows: generation will not stop there`,
    hint: "use the model's own chat template, or set eos_token_id in its generation_config.json",
  },
  "double-bos": {
    message: (rows) => `${rows} that begin with the BOS token twice`,
    hint: "remove the BOS text from the rows or from the template",
  },
  "dropped-role": {
    message: (rows) => `${rows} with a message that the chat template leaves out`,
    hint: "look at them with dftune preview; put the text into a role that the template renders",
  },
  "empty-answer": {
    message: (rows) =>
      `${rows} where nothing but the end of the turn is trained: they teach the model to say nothing`,
    hint: "leave them out, unless silence is the answer",
  },
}

/** What preparing a data set counted. */
export interface PreparedCounts {
  readonly purpose: Purpose
  readonly maxLength: number
  /** Rows kept. */
  readonly rows: number
  readonly tokens: number
  readonly supervisedTokens: number
  readonly dropped: Tally
  readonly bad: Tally
  readonly duplicates: Tally
  readonly notes: ReadonlyMap<RowNote, Tally>
  /** Files that no row was found in. */
  readonly emptyFiles: readonly string[]
}

/** How many rows, and where the first of them are. */
export interface Tally {
  readonly count: number
  readonly examples: readonly string[]
}

/** Everything worth telling about a prepared data set. */
export function lintsOf(counts: PreparedCounts): Lint[] {
  const { rows, tokens, supervisedTokens, dropped, bad, duplicates, notes, maxLength, emptyFiles } =
    counts
  const lints: Lint[] = []
  if (rows + dropped.count === 0) {
    lints.push({
      code: "no-supervised-tokens",
      severity: "error",
      message: "nothing to train: no rows were found",
      hint:
        bad.count > 0
          ? "none of those that are there could be read; set data.on_bad_row: error to see why"
          : "the files are empty; check data.train",
      count: 0,
      examples: emptyFiles.slice(0, MAX_EXAMPLES),
    })
  } else if (supervisedTokens === 0) {
    lints.push({
      code: "no-supervised-tokens",
      severity: "error",
      message: `nothing to train: none of ${plural(rows + dropped.count, "row")} has a supervised token within data.max_length ${maxLength}`,
      hint: "look at the rows with dftune preview; raise data.max_length, or check data.supervise and the chat template",
      count: dropped.count,
      examples: dropped.examples,
    })
  } else if (dropped.count > 0) {
    lints.push({
      code: "dropped-rows",
      severity: "warning",
      message: `${plural(dropped.count, "row")} dropped: no supervised token is left within data.max_length ${maxLength}`,
      hint: "raise data.max_length if they matter",
      ...dropped,
    })
  }
  if (bad.count > 0) {
    lints.push({
      code: "bad-rows",
      severity: "warning",
      message: `${plural(bad.count, "row")} could not be read and were skipped (data.on_bad_row: skip)`,
      hint: "repair them, or set data.on_bad_row: error to see why the first one fails",
      ...bad,
    })
  }
  if (rows > 0 && emptyFiles.length > 0) {
    lints.push({
      code: "empty-source",
      severity: "warning",
      message: `${plural(emptyFiles.length, "file")} without any row`,
      hint: "fill them, or take them out of the config",
      count: emptyFiles.length,
      examples: emptyFiles.slice(0, MAX_EXAMPLES),
    })
  }
  for (const [note, tally] of notes) {
    const { message, hint } = NOTE_LINTS[note]
    const subject = plural(tally.count, "row")
    lints.push({
      code: note,
      severity: "warning",
      message: message(subject, maxLength),
      hint,
      ...tally,
    })
  }
  const share = supervisedTokens / Math.max(1, tokens)
  if (supervisedTokens > 0 && share < FEW_SUPERVISED) {
    lints.push({
      code: "few-supervised-tokens",
      severity: "warning",
      message: `only ${percent(share)} of the tokens are trained; the rest is prompt`,
      hint: "shorter prompts train faster; check data.supervise",
      count: rows,
      examples: [],
    })
  }
  if (duplicates.count > 0) {
    lints.push({
      code: "duplicate-rows",
      severity: "warning",
      message: `${plural(duplicates.count, "row")} repeat another row, token for token`,
      hint: "remove them, or use weight: to repeat a source on purpose",
      ...duplicates,
    })
  }
  return lints
}

/** Training rows whose prompt is also in another set. */
export function overlapLint(
  kind: "eval" | "benchmark",
  name: string,
  { count, examples }: Tally,
): Lint[] {
  if (count === 0) return []
  return [
    {
      code: `${kind}-overlap`,
      severity: "warning",
      message: `${plural(count, "training row")} with a prompt that is also in ${name}`,
      hint: "remove them: scores there would measure memory",
      count,
      examples,
    },
  ]
}

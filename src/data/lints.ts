import { plural } from "../plural.ts"
import { PAIR_FAULTS } from "./pair-faults.ts"
import type { Purpose } from "./rows/index.ts"

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
  "dropped-tool-call",
  "dropped-reasoning",
  "dropped-tools",
  "text-arguments",
  "sampled-as-text",
  "empty-answer",
  "noise",
  "noise-impossible",
  "side-inside",
  ...PAIR_FAULTS,
] as const
export type RowNote = (typeof ROW_NOTES)[number]

export type LintCode =
  | RowNote
  | "no-supervised-tokens"
  | "untrained-rows"
  | "damaged-cache"
  | "unknown-token"
  | "unused-keys"
  | "dropped-rows"
  | "bad-rows"
  | "empty-source"
  | "few-supervised-tokens"
  | "duplicate-rows"
  | "near-duplicates"
  | "longer-than-context"
  | "eval-overlap"
  | "benchmark-overlap"

/** Examples kept of each kind. */
export const MAX_EXAMPLES = 5
/** Below this share of supervised tokens most of the compute goes to prompts. */
const FEW_SUPERVISED = 0.05

/** `1 row`, `1,204 rows`. */
export const counted = (count: number, noun: string): string =>
  `${count.toLocaleString("en-US")} ${plural(count, noun)}`
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
  "dropped-tool-call": {
    message: (rows) => `${rows} with a tool call that the chat template does not write in full`,
    hint: "look at them with dftune preview; use a template that writes tool_calls (data.template: FILE.jinja)",
  },
  "dropped-reasoning": {
    message: (rows) =>
      `${rows} with reasoning (reasoning_content, thinking, <think>) that is not in the text`,
    hint: "look at them with dftune preview; put the reasoning into the content, or use a template that writes it (data.template: FILE.jinja)",
  },
  "dropped-tools": {
    message: (rows) => `${rows} with tools that are not in the text`,
    hint: "look at them with dftune preview; use a template that writes tools (data.template: FILE.jinja)",
  },
  "text-arguments": {
    message: (rows) => `${rows} with a tool call whose arguments are text, not a JSON object`,
    hint: "the template may write them with quotes around them; make them an object",
  },
  "sampled-as-text": {
    message: (rows) =>
      `${rows} whose token_ids this tokenizer does not decode to their completion: they are trained by their text`,
    hint: "samples of this very model are trained token by token as they were drawn; leave token_ids out if they are another model's",
  },
  "empty-answer": {
    message: (rows) =>
      `${rows} where nothing but the end of the turn is trained: they teach the model to say nothing`,
    hint: "leave them out, unless silence is the answer",
  },
  noise: {
    message: (rows) => `${rows} made wrong on purpose (noise of data.train)`,
    hint: "look at them with dftune preview; take noise out of the config for the rows as they are",
  },
  "noise-impossible": {
    message: (rows) =>
      `${rows} drawn for noise and left as they were: nothing in them could be changed`,
    hint: "wrong-answers needs a number in the answer, wrong-steps a result after =, swapped-labels another answer near it",
  },
  "side-inside": {
    message: (rows) =>
      `${rows} whose one answer begins with all of the other: what is preferred in them is to stop or to go on`,
    hint: "look at them with dftune preview; take them out if length is not what the data judges",
  },
  "long-pair": {
    message: (rows, maxLength) =>
      `${rows} left out: an answer of the pair is longer than data.max_length ${maxLength}, and cut short it would lose by that alone`,
    hint: "raise data.max_length; data.on_long_pair: truncate keeps them",
  },
  "equal-sides": {
    message: (rows) => `${rows} left out: chosen and rejected are the same, token for token`,
    hint: "take them out of the data: nothing is preferred in them",
  },
}

/** Above this share of pairs without a difference something else is wrong with the data. */
const MOST_EQUAL = 0.5

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
  /** Rows that say they are not to be trained, by what they say. */
  readonly untrained: ReadonlyMap<string, Tally>
  /** Keys that nothing was made of, of each source. */
  readonly unusedKeys: readonly {
    readonly source: string
    readonly keys: ReadonlyMap<string, Tally>
  }[]
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
  const { rows, bad, notes, maxLength } = counts
  const leftOut = PAIR_FAULTS.reduce((sum, fault) => sum + (notes.get(fault)?.count ?? 0), 0)
  const untrained = untrainedLint(counts)
  const lost = lostLint(counts, untrained, leftOut)
  const ofNotes = [...notes].map(([note, tally]): Lint => {
    const { message, hint } = NOTE_LINTS[note]
    return {
      code: note,
      severity: isFatal(note, tally.count, rows, leftOut) ? "error" : "warning",
      message: message(counted(tally.count, "row"), maxLength),
      hint,
      ...tally,
    }
  })
  const badRows: Lint = {
    code: "bad-rows",
    severity: "warning",
    message: `${counted(bad.count, "row")} could not be read and were skipped (data.on_bad_row: skip)`,
    hint: "repair them, or set data.on_bad_row: error to see why the first one fails",
    ...bad,
  }
  const unused = counts.unusedKeys.filter(({ keys }) => keys.size > 0)
  const all = [
    lost,
    untrained?.code === lost?.code ? undefined : untrained,
    bad.count > 0 ? badRows : undefined,
    emptySourceLint(counts),
    ...ofNotes,
    fewSupervisedLint(counts),
    ...unused.map(({ source, keys }) => unusedKeysLint(source, keys)),
    duplicatesLint(counts),
  ]
  return all.filter((lint) => lint !== undefined)
}

/** Rows of which nothing is trained, and the error where that is all of them. */
function lostLint(
  { rows, supervisedTokens, dropped, bad, maxLength, emptyFiles }: PreparedCounts,
  untrained: Lint | undefined,
  leftOut: number,
): Lint | undefined {
  const code = "no-supervised-tokens"
  if (rows + dropped.count === 0) {
    if (leftOut > 0) return undefined // said by their own lints, which then are errors
    if (untrained !== undefined)
      return { ...untrained, severity: "error", message: `nothing to train: ${untrained.message}` }
    return {
      code,
      severity: "error",
      message: "no rows were found",
      hint:
        bad.count > 0
          ? "none of those that are there could be read; set data.on_bad_row: error to see why"
          : "the files are empty",
      count: 0,
      examples: emptyFiles.slice(0, MAX_EXAMPLES),
    }
  }
  if (supervisedTokens === 0) {
    return {
      code,
      severity: "error",
      message: `nothing to train: none of ${counted(rows + dropped.count, "row")} has a supervised token within data.max_length ${maxLength}`,
      hint: "look at the rows with dftune preview; raise data.max_length, or check data.supervise and the chat template",
      ...dropped,
    }
  }
  if (dropped.count === 0) return undefined
  return {
    code: "dropped-rows",
    severity: "warning",
    message: `${counted(dropped.count, "row")} dropped: no supervised token is left within data.max_length ${maxLength}`,
    hint: "raise data.max_length if they matter",
    ...dropped,
  }
}

function emptySourceLint({ rows, emptyFiles }: PreparedCounts): Lint | undefined {
  if (rows === 0 || emptyFiles.length === 0) return undefined
  return {
    code: "empty-source",
    severity: "warning",
    message: `${counted(emptyFiles.length, "file")} without any row`,
    hint: "fill them, or take them out of the config",
    count: emptyFiles.length,
    examples: emptyFiles.slice(0, MAX_EXAMPLES),
  }
}

function fewSupervisedLint({ rows, tokens, supervisedTokens }: PreparedCounts): Lint | undefined {
  const share = supervisedTokens / Math.max(1, tokens)
  if (supervisedTokens === 0 || share >= FEW_SUPERVISED) return undefined
  return {
    code: "few-supervised-tokens",
    severity: "warning",
    message: `only ${percent(share)} of the tokens are trained; the rest is prompt`,
    hint: "shorter prompts train faster; check data.supervise",
    count: rows,
    examples: [],
  }
}

function duplicatesLint({ duplicates }: PreparedCounts): Lint | undefined {
  if (duplicates.count === 0) return undefined
  return {
    code: "duplicate-rows",
    severity: "warning",
    message: `${counted(duplicates.count, "row")} ${duplicates.count === 1 ? "repeats" : "repeat"} another row, token for token`,
    hint: "remove them, or use weight: to repeat a source on purpose",
    ...duplicates,
  }
}

/** Rows that are left out because they say so. */
function untrainedLint({ untrained }: PreparedCounts): Lint | undefined {
  const count = [...untrained.values()].reduce((sum, tally) => sum + tally.count, 0)
  if (count === 0) return undefined
  const said = [...untrained].map(([key, tally]) => `${key} in ${tally.count}`).join(", ")
  return {
    code: "untrained-rows",
    severity: "warning",
    message: `${counted(count, "row")} left out: they say that they are not to be trained (${said})`,
    hint: "bad answers belong to objective: kto or dpo; data.columns: { KEY: null } says that a column means something else",
    count,
    examples: [...untrained.values()].flatMap(({ examples }) => examples).slice(0, MAX_EXAMPLES),
  }
}

function unusedKeysLint(source: string, keys: ReadonlyMap<string, Tally>): Lint {
  const most = [...keys].sort(([, a], [, b]) => b.count - a.count)
  const named = most.slice(0, 8).map(([key, { count }]) => `${key} (${count})`)
  const more = most.length > named.length ? `, and ${most.length - named.length} more` : ""
  return {
    code: "unused-keys",
    severity: "warning",
    message: `${source}: ${most.length === 1 ? "a key of its rows is" : `${most.length} keys of its rows are`} not used: ${named.join(", ")}${more}`,
    hint: "nothing of them is in the text; if one matters, name it in data.columns or put it into the prompt",
    count: Math.max(...most.map(([, { count }]) => count)),
    examples: most[0]![1].examples,
  }
}

/** Pairs are left out one by one, until hardly any is left to learn from. */
function isFatal(note: RowNote, count: number, rows: number, leftOut: number): boolean {
  if (!(PAIR_FAULTS as readonly RowNote[]).includes(note)) return false
  return rows === 0 || (note === "equal-sides" && count > MOST_EQUAL * (rows + leftOut))
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
      message: `${counted(count, "training row")} with a prompt that is also in ${name}`,
      hint: "remove them: scores there would measure memory",
      count,
      examples,
    },
  ]
}

/** What only the user knows of a first config, each answer looked at as it is given. */
import { existsSync } from "node:fs"
import { didYouMean } from "../closest-name.ts"
import { OBJECTIVES } from "../config/index.ts"
import { isGlob } from "../data/glob.ts"
import type { Columns } from "../data/index.ts"
import { InputError } from "../errors.ts"
import type { Told } from "../host/told.ts"
import { isHubId } from "../hub/names.ts"
import { type ModelFacts, modelFacts, type RowFacts, rowFacts } from "../train/proposal.ts"

export interface GivenAnswers {
  /** Folder or hub id; Qwen/Qwen2.5-0.5B if left out. */
  readonly model?: string | undefined
  /** Training rows: path, glob or hub data set; train.jsonl if left out. */
  readonly train?: string | undefined
  /** What the rows call their parts, by the names of `data.columns`. */
  readonly columns?: Columns | undefined
  /** What is minimised; dft if left out. */
  readonly objective?: string | undefined
  /** An adapter or the whole model; memory decides if left out. */
  readonly lora?: boolean | undefined
}

export interface Look extends Omit<Told, "onWarning"> {
  /**
   * Asks for an answer that was not given; an empty one takes `fallback`. Asked again, after
   * `onNotice` has said why, where an answer cannot work. Without it the fallbacks are taken.
   */
  readonly ask?: ((question: string, fallback: string) => Promise<string>) | undefined
}

export interface Answers {
  readonly model: string
  readonly train: string
  readonly columns?: Columns
  readonly objective: string
  readonly lora?: boolean
}

/** What was found of the answers; what could not be looked at is undefined, and said. */
export interface Facts {
  readonly model: ModelFacts | undefined
  readonly rows: RowFacts | undefined
}

const DEFAULT_ANSWERS: Answers = {
  model: "Qwen/Qwen2.5-0.5B",
  train: "train.jsonl",
  objective: "dft",
}

/**
 * The answers, each looked at while the others can still be given again.
 *
 * @throws InputError for a given answer that cannot work
 */
export async function settledAnswers(
  given: GivenAnswers,
  look: Look,
): Promise<{ answers: Answers; facts: Facts }> {
  const { ask } = look
  checkObjective(given.objective ?? DEFAULT_ANSWERS.objective)
  const answer = async <T>(
    key: "model" | "train" | "objective",
    question: string,
    looked: (text: string, explicit: boolean) => Promise<T> | T,
  ): Promise<{ text: string; found: T }> => {
    const fallback = DEFAULT_ANSWERS[key]
    const known = given[key]
    if (ask === undefined || known !== undefined) {
      const text = known ?? fallback
      return { text, found: await looked(text, known !== undefined) }
    }
    for (;;) {
      const text = (await ask(question, fallback)).trim()
      try {
        return { text: text || fallback, found: await looked(text || fallback, text !== "") }
      } catch (error) {
        if (!(error instanceof InputError)) throw error
        look.onNotice?.(`  ${error.message}`)
      }
    }
  }
  const model = await answer("model", "Model (folder or hub id)?", (name) =>
    lookedAtModel(name, look),
  )
  const rows = await answer(
    "train",
    "Training rows (path, glob or hub data set)?",
    (path, explicit) =>
      columnsOf(given.columns, look, (columns) =>
        lookedAtRows(path, { model: model.found, explicit, columns }, look),
      ),
  )
  const names = OBJECTIVES.slice(0, 6).join(", ")
  const named = await answer("objective", `Objective (${names}, ...)?`, checkObjective)
  const { columns, found } = rows.found
  const answers: Answers = {
    model: model.text,
    train: rows.text,
    ...(columns === undefined ? {} : { columns }),
    objective: named.text,
    ...(given.lora === undefined ? {} : { lora: given.lora }),
  }
  return { answers, facts: { model: model.found, rows: found } }
}

const OTHER_ROWS = "other rows"

/**
 * What is found of the rows; where their keys say nothing, under the columns that are then asked
 * for.
 *
 * @throws InputError where they cannot be read, or other rows are wanted
 */
async function columnsOf<T>(
  given: Columns | undefined,
  { ask, onNotice }: Look,
  looked: (columns: Columns | undefined) => Promise<T>,
): Promise<{ columns: Columns | undefined; found: T }> {
  let columns = given
  for (;;) {
    try {
      return { columns, found: await looked(columns) }
    } catch (error) {
      if (!(error instanceof InputError) || !error.message.includes("data.columns")) throw error
      if (ask === undefined)
        throw new InputError(
          `${error.message}. dftune init takes them: --columns question=NAME --columns answer=NAME`,
        )
      onNotice?.(`  ${error.message}`)
    }
    const question = await ask("Which column is the question?", OTHER_ROWS)
    if (question.trim() === "") throw new InputError("other rows, then")
    columns = { question, answer: await ask("Which column is the answer?", "answer") }
  }
}

function checkObjective(name: string): void {
  if (OBJECTIVES.includes(name)) return
  throw new InputError(
    `objective: expected one of ${OBJECTIVES.join(", ")}, got "${name}"${didYouMean(name, OBJECTIVES)}`,
  )
}

const within = ({ signal }: Look) => (signal ? { signal } : {})

/**
 * undefined for a hub id that cannot be reached from here: its settings are then chosen blindly.
 */
async function lookedAtModel(name: string, look: Look): Promise<ModelFacts | undefined> {
  try {
    return await modelFacts(name, within(look))
  } catch (error) {
    if (!(error instanceof InputError) || !isHubId(name) || existsSync(name)) throw error
    if (!/cannot reach|not in the cache|HF_HUB_OFFLINE/.test(error.message)) throw error
    if (!name.includes("/")) throw error
    look.onNotice?.(`could not look at ${name}: ${error.message}`)
    return undefined
  }
}

/** A name that is meant for a file, whatever else it could be. */
const ROW_FILE = /\.(jsonl?|csv|tsv|parquet|arrow)(\.(gz|zst))?$/i

async function lookedAtRows(
  path: string,
  {
    model,
    explicit,
    columns,
  }: { model: ModelFacts | undefined; explicit: boolean; columns: Columns | undefined },
  look: Look,
): Promise<RowFacts | undefined> {
  const local = existsSync(path) || isGlob(path)
  if (!local && (ROW_FILE.test(path) || !isHubId(path))) {
    const missing = `${path}: no such file`
    if (explicit) throw new InputError(missing)
    look.onNotice?.(`${missing} yet; put your rows there, or give --train`)
    return undefined
  }
  if (!local || model === undefined) return undefined
  look.onProgress?.("looking at the rows")
  const found = await rowFacts(path, model, { ...within(look), columns })
  for (const { message, hint } of found.lints) look.onNotice?.(`${message}; ${hint}`)
  return found
}

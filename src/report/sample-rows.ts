/** Samples of several runs by prompt, and the weights of their tokens. Runs in a browser too. */
import type { ObjectiveSettings } from "../objectives/index.ts"
import { definitionOf, objectiveFromConfig, weightsAt } from "../objectives/index.ts"
import type { SampleEvent } from "../run/events.ts"
import { shortNumber } from "./units.ts"

/** More prompts than this are left out, and said to be: a page must stay readable. */
const MAX_PROMPTS = 50

export type Sample = Pick<SampleEvent, "step" | "prompt" | "completion"> &
  Partial<Omit<SampleEvent, "type" | "time">>

/** What a run answered to a prompt. */
export interface SampleCell {
  /** The oldest, where there are several. */
  readonly first?: Sample
  readonly last: Sample
  /** Others of the last step: a rollout has several of a prompt. */
  readonly beside: readonly Sample[]
}

export interface SampleRow {
  readonly prompt: string
  /** One a run; null where a run was not asked. */
  readonly cells: readonly (SampleCell | null)[]
  /** What the row that the prompt comes from answers. */
  readonly reference?: string
}

/** `left`: how many prompts are not among the rows. */
export function sampleRows(runs: readonly { readonly samples: readonly Sample[] }[]): {
  readonly rows: readonly SampleRow[]
  readonly left: number
} {
  const prompts = [...new Set(runs.flatMap(({ samples }) => samples.map(({ prompt }) => prompt)))]
  const rows = prompts.slice(0, MAX_PROMPTS).map((prompt): SampleRow => {
    const own = runs.map(({ samples }) => samples.filter((sample) => sample.prompt === prompt))
    const reference = own.flat().find((sample) => sample.reference !== undefined)?.reference
    return { prompt, cells: own.map(cellOf), ...(reference === undefined ? {} : { reference }) }
  })
  return { rows, left: prompts.length - rows.length }
}

function cellOf(own: readonly Sample[]): SampleCell | null {
  const [first] = own
  const last = own.at(-1)
  if (first === undefined || last === undefined) return null
  const beside = own.filter((one) => one !== last && one.step === last.step)
  return { ...(first === last ? {} : { first }), last, beside }
}

/** What a rollout's sample was rewarded, in words. */
export function rewardText({
  reward,
  advantage,
  finish_reason,
}: Pick<Sample, "reward" | "advantage" | "finish_reason">): string {
  if (reward === undefined) return ""
  const parts = [
    `reward ${reward === null ? "none" : shortNumber(reward)}`,
    ...(advantage === undefined ? [] : [`advantage ${shortNumber(advantage)}`]),
    ...(finish_reason === "length" ? ["cut at the limit"] : []),
  ]
  return parts.join(", ")
}

/**
 * The weights that the run's objective would give these tokens as targets; undefined where they
 * depend on more than the probability (entropy, a reference), which a sample does not record.
 */
export function tokenWeights(
  probabilities: readonly number[],
  { config }: { readonly config: Readonly<Record<string, unknown>> },
): number[] | undefined {
  const settings = config.objective as ObjectiveSettings | undefined
  // A run of another version may name an objective that this one does not know.
  const known = settings?.expression !== undefined || definitionOf(settings?.name ?? "")
  if (settings === undefined || !known) return undefined
  return weightsAt(objectiveFromConfig(settings), probabilities, { tokenClass: 0, progress: 1 })
}

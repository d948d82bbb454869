/** What a study asks a model, and which of it is still to be asked. */
import type { Asked } from "./asked-model.ts"
import type { Cell } from "./design.ts"
import type { Study } from "./load-study.ts"
import type { LossEvent, ScoreEvent, StudyEvent } from "./study-events.ts"
import type { Choose, Decoding, Losses } from "./study-schema.ts"

/** What choices are asked goes by this name, and into no table of results. */
export const VALIDATION = "validation"

export interface Questions {
  readonly asked: Asked
  readonly decodings: readonly Decoding[]
}

/** What a run's model is asked, and at which decodings. */
export function questionsOf(study: Study, cell: Pick<Cell, "stage">): Questions[] {
  const { evaluations, choose, base } = study.fields
  if (cell.stage === "choose") {
    // on which runs it is asked is no part of what is asked: more seeds later leave them as they
    // are
    const { decoding, seeds: _, ...asked } = choose as Choose
    return [{ asked: { ...asked, name: VALIDATION }, decodings: [decoding] }]
  }
  const more = cell.stage === "base" && base !== false ? base.temperatures : []
  return evaluations.map(({ decodings, ...asked }) => ({
    asked,
    decodings: [...new Set([...decodings, ...more])],
  }))
}

/** The rows whose NLL is measured of a run's model. */
export const lossesOf = ({ fields }: Study, { stage }: Pick<Cell, "stage">): readonly Losses[] =>
  stage === "choose" ? [] : fields.losses

/** One thing that a model is asked, and the answer that is there. */
export type Question =
  | { readonly kind: "score"; readonly asked: Asked; readonly decoding: Decoding }
  | { readonly kind: "loss"; readonly asked: Losses }

/** All that a run's model is asked, one by one. */
export function everyQuestion(study: Study, cell: Pick<Cell, "stage">): Question[] {
  return [
    ...questionsOf(study, cell).flatMap(({ asked, decodings }) =>
      decodings.map((decoding) => ({ kind: "score", asked, decoding }) as const),
    ),
    ...lossesOf(study, cell).map((asked) => ({ kind: "loss", asked }) as const),
  ]
}

/** The event that answers a question, among those of its run. */
export function answerOf(
  question: Question,
  told: readonly StudyEvent[],
): ScoreEvent | LossEvent | undefined {
  const { name } = question.asked
  return told.find((event): event is ScoreEvent | LossEvent =>
    question.kind === "loss"
      ? event.type === "loss" && event.name === name
      : event.type === "score" && event.evaluation === name && event.decoding === question.decoding,
  )
}

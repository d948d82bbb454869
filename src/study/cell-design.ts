/** Whether what a study's folder holds of a run is what the study says now. */
import { createHash } from "node:crypto"
import type { Config } from "../config/index.ts"
import { InputError } from "../errors.ts"
import type { AxisValue, Cell } from "./design.ts"
import type { Study } from "./load-study.ts"
import { answerOf, everyQuestion, type Question, questionsOf } from "./questions.ts"
import type { StudyEvent } from "./study-events.ts"

const hashOf = (value: unknown): string =>
  createHash("sha256").update(JSON.stringify(value)).digest("hex").slice(0, 16)

/** A run's settings, without its place. */
function settingsOf({ output_dir: _, resume: __, ...rest }: Config) {
  return rest
}

/** Of what a model is asked under one name: the decodings are no part of it. */
export const questionHash = ({ asked }: Question): string => hashOf(asked)

export interface CellDesign {
  /** Of the settings and of all that is asked. */
  readonly design: string
  /** Of the settings alone. */
  readonly config: string
}

export function cellDesign(study: Study, cell: Cell, config: Config): CellDesign {
  const { losses } = study.fields
  const asked = questionsOf(study, cell)
  const measured = cell.stage === "choose" ? [] : losses
  return {
    design: hashOf([settingsOf(config), asked, measured]),
    config: hashOf(settingsOf(config)),
  }
}

interface Found {
  readonly folder: string
  /** The run's events. */
  readonly told: readonly StudyEvent[]
  readonly chosen: AxisValue | undefined
}

/**
 * Refuses a run that was made with other settings, or asked something else by the same name. What a
 * study asks beside that may be added later.
 *
 * @throws InputError naming what differs and what to do
 */
export function checkMadeSo(
  study: Study,
  cell: Cell,
  now: CellDesign,
  { folder, told, chosen }: Found,
): void {
  const start = told.find((event) => event.type === "cell.start")
  if (start === undefined || start.design === now.design) return
  const again = `remove the folder and ${cell.id}.jsonl of events`
  if (chosen !== undefined && start.chosen !== undefined && start.chosen !== chosen.label) {
    throw new InputError(
      `${folder}: was made with ${start.chosen}, the best of the runs to choose by that were done then; now the best is ${chosen.label}. To make it again ${again}`,
    )
  }
  // events of 0.1.0's first studies say only what all was together
  if (start.config === undefined) {
    throw new InputError(
      `${folder}: was made with other settings or questions than ${study.path} has now; give another output_dir, or ${again}`,
    )
  }
  if (start.config !== now.config) {
    throw new InputError(
      `${folder}: was made with other settings than ${study.path} has now; give another output_dir, or ${again}`,
    )
  }
  for (const question of everyQuestion(study, cell)) {
    const answer = answerOf(question, told)
    if (answer === undefined || answer.asked === questionHash(question)) continue
    throw new InputError(
      `${folder}: ${question.asked.name} was asked otherwise than ${study.path} has it now; give it another name there, or ${again}`,
    )
  }
}

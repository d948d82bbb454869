import { existsSync } from "node:fs"
import { resolve } from "node:path"
import { parseConfig } from "../config/index.ts"
import { objectiveFromConfig } from "../objectives/index.ts"
import { keepsSpecialTokens } from "../train/abandoned-tokens.ts"
import { probe } from "../train/probe.ts"
import type { Proposal } from "../train/proposal.ts"
import type { Answers, Facts, Look } from "./answers.ts"

/** Below this the model hardly expects its end of turn, and weights near p would not teach it. */
const UNLIKELY = 0.1
/** Weights above this take too long to be opened for a question. */
const MEASURED_PARAMETERS = 7e8

/** Why end-of-turn tokens should keep their full weight, where they should. */
export async function specialTokens(
  { model, train, columns, objective }: Answers,
  { model: found, rows }: Facts,
  { maxLength }: Proposal,
  { signal, onProgress }: Look,
): Promise<string | undefined> {
  if (keepsSpecialTokens(objectiveFromConfig(objective))) return undefined
  const measured =
    found !== undefined &&
    rows !== undefined &&
    existsSync(model) &&
    found.parameters <= MEASURED_PARAMETERS
  if (!measured) return "so that it learns where to stop; not measured"
  onProgress?.("asking the model how it expects the rows to end")
  const data = { train: [{ path: train, max_rows: 64 }], max_length: maxLength.value, columns }
  const config = parseConfig({ model: resolve(model), data, objective })
  const within = signal ? { signal } : {}
  const { sources } = await probe(config, { timed: false, rows: 12, ...within })
  const ends = sources[0]?.classes["end of turn"]
  if (ends === undefined || ends.count === 0 || ends.mean_p >= UNLIKELY) return undefined
  return `the model gives its end of turn p ${ends.mean_p.toPrecision(1)}, too little for weights near p`
}

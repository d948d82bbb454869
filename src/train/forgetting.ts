/** What a run forgets: how well the model still predicts texts, and its own first answers. */
import { existsSync } from "node:fs"
import { join } from "node:path"
import type { Prepared, PreparedRow } from "../data/prepared.ts"
import { InputError } from "../errors.ts"
import { writeFileAtomic } from "../formats/index.ts"
import { isObject } from "../formats/json.ts"
import { readJsonObject } from "../formats/json-files.ts"
import { LocalSource } from "../generate/local-source.ts"
import type { EventBody } from "../run/events.ts"
import { RUN_FILES } from "../run/run-files.ts"
import { loadTokenizer, stopTokenIds } from "../text/index.ts"
import type { StepRow } from "./batches.ts"
import type { RunPlan } from "./plan.ts"
import type { Policy } from "./policy.ts"
import { sequenceLogprobs } from "./sequence-logprobs.ts"

/** What was there when the run began: `forgetting.json` in the run folder. */
interface Beginning {
  readonly texts: number | null
  readonly answers: number | null
  /** Of the training prompts: ids of the prompt, and of the model's greedy answer. */
  readonly kept: readonly {
    readonly prompt: readonly number[]
    readonly answer: readonly number[]
  }[]
}

export type Forgetting = (step: number, signal?: AbortSignal) => AsyncGenerator<EventBody>

const NAMES = { texts: "forgetting/texts", answers: "forgetting/answers" } as const

/**
 * Two `eval` events: the NLL of the texts, and of the answers that the model gave to training
 * prompts before its first update, each with how far it has risen since. undefined where the config
 * asks for none.
 *
 * @throws InputError of a resumed run that never wrote down how it began
 */
export function forgetting(plan: RunPlan, policy: Policy): Forgetting | undefined {
  const { config, split, forgettingTexts: texts } = plan
  const settings = config.forgetting
  if (settings === null) return undefined
  const path = join(config.output_dir, RUN_FILES.forgetting)
  const { decoder } = policy
  const nllOf = async (rows: readonly StepRow[], signal: AbortSignal | undefined) => {
    if (rows.length === 0) return null
    const all = await sequenceLogprobs(decoder, rows, { split, signal })
    const count = all.reduce((sum, { length }) => sum + length, 0)
    const sum = all.reduce((total, own) => own.reduce((part, value) => part - value, total), 0)
    return count === 0 ? null : sum / count
  }
  const textRows = texts ? everyToken(texts) : []
  let began: Beginning | undefined
  return async function* (step, signal) {
    try {
      const kept = began?.kept ?? (await keptAnswers(path, plan, policy, { step, signal }))
      const now = {
        texts: await nllOf(textRows, signal),
        answers: await nllOf(kept.map(answerRow), signal),
      }
      if (!began) began = await beginning(path, { ...now, kept }, step)
      for (const name of ["texts", "answers"] as const) {
        const [nll, first] = [now[name], began[name]]
        if (nll === null || first === null) continue
        yield { type: "eval", step, name: NAMES[name], nll, nll_rise: nll - first }
      }
    } catch (error) {
      if (!signal?.aborted) throw error
    }
  }
}

/** As it was written down, or as it is now that the run begins. */
async function beginning(path: string, now: Beginning, step: number): Promise<Beginning> {
  if (step > 0) return (await readBeginning(path))!
  await writeFileAtomic(path, `${JSON.stringify(now)}\n`)
  return now
}

async function readBeginning(path: string): Promise<Beginning | undefined> {
  if (!existsSync(path)) return undefined
  const read: unknown = await readJsonObject(path)
  return isObject(read) && Array.isArray(read.kept) ? (read as unknown as Beginning) : undefined
}

interface AskedAt {
  readonly step: number
  readonly signal: AbortSignal | undefined
}

async function keptAnswers(
  path: string,
  plan: RunPlan,
  { decoder }: Policy,
  { step, signal }: AskedAt,
): Promise<Beginning["kept"]> {
  if (step > 0) {
    const began = await readBeginning(path)
    if (began) return began.kept
    throw new InputError(
      `${path}: is not there, and a run that goes on cannot know how it began; leave forgetting out, or start anew`,
    )
  }
  const { prompts: wanted, max_new_tokens: maxNewTokens } = plan.config.forgetting!
  const prompts = trainingPrompts(plan, wanted)
  const tokenizer = await loadTokenizer(plan.modelFolder)
  const stopIds = await stopTokenIds(plan.modelFolder, tokenizer)
  const source = new LocalSource({
    model: decoder,
    tokenizer,
    template: null,
    stopTokenIds: stopIds,
  })
  const requests = prompts.map((tokenIds) => {
    return { prompt: { tokenIds }, n: 1, temperature: 0, maxNewTokens, seed: 0 }
  })
  const answers: (readonly number[])[] = []
  try {
    for await (const sample of source.sample(requests, signal ? { signal } : {})) {
      answers[sample.requestIndex] = sample.tokenIds
    }
  } finally {
    await source.release()
  }
  return prompts.map((prompt, i) => ({ prompt, answer: answers[i]! }))
}

/** Evenly from the training rows: what comes before the first supervised token. */
function trainingPrompts({ rows, rollout }: RunPlan, wanted: number): number[][] {
  const count = Math.min(wanted, rows.rows)
  return Array.from({ length: count }, (_, i) => {
    const at = Math.floor((i * rows.rows) / count)
    if (rollout) return [...rollout.prompts[at]!.tokenIds]
    const { tokenIds, lossMask } = rows.sequences(at)[0]!
    return [...tokenIds.subarray(0, Math.max(1, lossMask.indexOf(1)))]
  })
}

function answerRow({ prompt, answer }: Beginning["kept"][number]): StepRow {
  const tokenIds = Int32Array.from([...prompt, ...answer])
  return bareRow(tokenIds, prompt.length)
}

/** Each token of a row but the first is predicted. */
function everyToken(rows: Prepared): StepRow[] {
  return Array.from({ length: rows.rows }, (_, i) => bareRow(rows.row(i).tokenIds, 1))
}

function bareRow(tokenIds: PreparedRow["tokenIds"], from: number): StepRow {
  const { length } = tokenIds
  const lossMask = new Uint8Array(length).fill(1, from)
  const tokenClass = new Uint8Array(length)
  return { tokenIds, lossMask, tokenClass, source: "forgetting", line: 1, weight: 1, value: 0 }
}

/** Who takes part in a chat: bases, results and checkpoints, by their names on the server. */

/** Conversations beside each other: each model has its own answers to the same questions. */
export const MOST_MODELS = 3

/** A run's models, or those that are no run's. */
export interface ModelGroup {
  readonly label: string
  readonly models: readonly { readonly id: string; readonly words: string }[]
}

const CHECKPOINT = /^(.+)@(\d+)$/

/** Runs with their result and their checkpoints, then what they were trained from. */
export function modelGroups(ids: readonly string[], runs: ReadonlySet<string>): ModelGroup[] {
  const ofRuns = new Map<string, { id: string; words: string }[]>()
  const others: { id: string; words: string }[] = []
  for (const id of ids) {
    // a run may itself be named as checkpoints are
    const [, run = id, step] = runs.has(id) ? [] : (CHECKPOINT.exec(id) ?? [])
    if (!runs.has(run)) {
      others.push({ id, words: id })
      continue
    }
    const own = ofRuns.get(run) ?? []
    ofRuns.set(run, own)
    own.push({ id, words: step === undefined ? run : `${run} at step ${step}` })
  }
  return [
    ...(others.length === 0 ? [] : [{ label: "not fine-tuned here", models: others }]),
    ...[...ofRuns].map(([label, models]) => ({ label, models })),
  ]
}

/** Of a run: what it was trained from, how it was on its way, and what came out. */
export function modelsOfRun(run: string, ids: readonly string[], base: string | null): string[] {
  const steps = ids
    .flatMap((id) => {
      const [, of, step] = CHECKPOINT.exec(id) ?? []
      return of === run ? [{ id, step: Number(step) }] : []
    })
    .sort((a, b) => a.step - b.step)
  const before = ids.find((id) => id === base || (base ?? "").endsWith(`/${id}`))
  const found = [before, steps[0]?.id, ids.find((id) => id === run)]
  return [...new Set(found.filter((id) => id !== undefined))].slice(0, MOST_MODELS)
}

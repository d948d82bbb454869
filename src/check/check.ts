import type { Config } from "../config/index.ts"
import { refuseScores } from "../config/scored-checks.ts"
import { InputError } from "../errors.ts"
import type { StepRow } from "../train/batches.ts"
import { closeRows, type PlanOptions, planRun } from "../train/plan.ts"
import { adapterComparisons } from "./adapters.ts"
import { batchComparisons } from "./batches.ts"
import type { Comparison } from "./comparison.ts"
import { interpreterComparison } from "./interpreter.ts"
import { precisionComparisons } from "./precision.ts"
import { sampledRows, samplerComparison } from "./rollouts.ts"
import { runComparisons } from "./runs.ts"
import { AS_BUILT, firstRows, type Subject, type Tried } from "./subject.ts"

export interface CheckResult {
  /** Whether no comparison is unusual. */
  readonly passed: boolean
  readonly comparisons: readonly Comparison[]
}

export interface CheckOptions extends PlanOptions {
  /** Parts with a fault, for tests. */
  readonly tried?: Partial<Tried>
  /** false leaves out what starts whole runs. */
  readonly runs?: boolean
}

type Stage = readonly [what: string, compare: (subject: Subject) => Promise<readonly Comparison[]>]
const STAGES: readonly Stage[] = [
  ["comparing bfloat16 with float32", precisionComparisons],
  ["comparing packs and splits", batchComparisons],
  ["comparing adapters with their base", adapterComparisons],
  ["comparing a block with the interpreter", async (s) => [await interpreterComparison(s)]],
]
const RUNS: Stage = ["comparing short runs", runComparisons]

/**
 * Compares what is fast with what is plain on this machine, with the config's model and its first
 * rows. Writes nothing into `output_dir`.
 *
 * @throws InputError for what is wrong with the config, the model or the data
 */
export async function check(config: Config, options: CheckOptions = {}): Promise<CheckResult> {
  refuseScores(config, "check")
  if (config.engine.name !== "onnx") {
    throw new InputError(
      `engine: ${config.engine.name}; check compares the local engine: --set engine=onnx`,
    )
  }
  const plan = await planRun({ ...config, resume: false }, options)
  try {
    const tried = { ...AS_BUILT, ...options.tried }
    const { signal } = options
    const comparisons: Comparison[] = []
    let rows: readonly StepRow[]
    if (plan.rollout) {
      options.onProgress?.("sampling some rows")
      const sampled = await sampledRows({ plan, tried, signal })
      rows = sampled.rows
      comparisons.push(samplerComparison(plan, sampled.apart))
    } else rows = firstRows(plan)
    const subject: Subject = { plan, rows, tried, signal }
    const stages = options.runs === false ? STAGES : [...STAGES, RUNS]
    for (const [what, compare] of stages) {
      options.signal?.throwIfAborted()
      options.onProgress?.(what)
      comparisons.push(...(await compare(subject)))
    }
    return { passed: !comparisons.some(({ verdict }) => verdict === "unusual"), comparisons }
  } finally {
    closeRows(plan)
  }
}

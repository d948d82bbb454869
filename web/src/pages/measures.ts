/** What of a step is drawn, and how it is called. */
export interface Measure {
  readonly title: string
  /** Columns of the steps, each with its label. */
  readonly columns: readonly (readonly [column: string, label: string])[]
  /** The field of evaluations that is drawn over it. */
  readonly evaluated?: "nll" | "mean_p" | "loss"
}

const KNOWN: readonly Measure[] = [
  { title: "NLL, nats a token", columns: [["nll", "training"]], evaluated: "nll" },
  { title: "Loss of the objective", columns: [["loss", "loss"]] },
  {
    title: "Mean probability of the targets",
    columns: [["mean_p", "training"]],
    evaluated: "mean_p",
  },
  { title: "Effective tokens, (Σw)² / Σw²", columns: [["effective_tokens", "effective tokens"]] },
  { title: "Mean weight", columns: [["mean_weight", "weight"]] },
  { title: "Entropy, nats", columns: [["entropy", "entropy"]] },
  {
    title: "Probability of ends of turns and of the template's tokens",
    columns: [
      ["eos_p", "ends of turns"],
      ["special_p", "template"],
    ],
  },
  { title: "Token accuracy", columns: [["token_accuracy", "accuracy"]] },
  { title: "Gradient norm before clipping", columns: [["grad_norm", "gradient norm"]] },
  { title: "Learning rate", columns: [["learning_rate", "learning rate"]] },
  {
    title: "Rewards of the chosen and the rejected",
    columns: [
      ["reward_chosen", "chosen"],
      ["reward_rejected", "rejected"],
      ["reward_margin", "margin"],
    ],
  },
  { title: "Tokens a second", columns: [["tokens_per_second", "tokens/s"]] },
  { title: "Memory, bytes", columns: [["memory_bytes", "memory"]] },
]

/** Counters, and what the axes show. */
const NOT_DRAWN = new Set(["step", "time", "epoch", "tokens", "supervised_tokens"])

/** Those of which there are numbers; columns that nobody named are drawn by their own names. */
export function measuresOf(columns: ReadonlyMap<string, readonly number[]>): Measure[] {
  const has = (column: string) => columns.get(column)?.some(Number.isFinite) === true
  const known = KNOWN.map((measure) => ({
    ...measure,
    columns: measure.columns.filter(([column]) => has(column)),
  })).filter((measure) => measure.columns.length > 0)
  const named = new Set(KNOWN.flatMap((measure) => measure.columns.map(([column]) => column)))
  const others = [...columns.keys()].filter(
    (column) => !named.has(column) && !NOT_DRAWN.has(column) && has(column),
  )
  return [
    ...known,
    ...others.map((column) => ({ title: column, columns: [[column, column]] as const })),
  ]
}

export const AXES = ["step", "tokens", "time"] as const
export type Axis = (typeof AXES)[number]

/** x of every step; time in seconds since 1970, as uPlot has it. */
export function axisValues(
  columns: ReadonlyMap<string, readonly number[]>,
  axis: Axis,
): readonly number[] {
  const values = columns.get(axis) ?? []
  return axis === "time" ? values.map((ms) => ms / 1000) : values
}

/** Exponential mean with weight `share` on what was before, corrected for its start. */
export function smoothed(values: readonly number[], share: number): (number | null)[] {
  let [sum, weight] = [0, 0]
  return values.map((value) => {
    if (!Number.isFinite(value)) return null
    sum = share * sum + (1 - share) * value
    weight = share * weight + (1 - share)
    return sum / weight
  })
}

/** The value of `ys` at the last x that is not later; for what is told by the step. */
export function at(xs: readonly number[], steps: readonly number[], step: number): number | null {
  let [low, high] = [0, steps.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (steps[middle]! <= step) low = middle + 1
    else high = middle
  }
  return low === 0 ? (xs[0] ?? null) : xs[low - 1]!
}

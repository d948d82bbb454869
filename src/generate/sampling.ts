/** How a token is chosen from its distribution. */
export interface Sampling {
  /** 0 is greedy; the other settings then say nothing. */
  readonly temperature: number
  /** Only the k most likely tokens. */
  readonly topK?: number | undefined
  /** Only the most likely tokens whose probabilities first add up to this. */
  readonly topP?: number | undefined
  /** Only tokens at least this likely, as a share of the likeliest; after the others. */
  readonly minP?: number | undefined
}

/**
 * Takes back from the weights of tokens seen before: the logit l of each becomes l / penalty where
 * it is positive, l * penalty where not (arXiv 1909.05858, section 4.1; as Transformers has it).
 *
 * @param weights probabilities at `temperature` up to a factor, [V]; changed
 * @param logits [V]
 */
export function penalizeSeen(
  weights: Float32Array,
  logits: Float32Array,
  seen: ReadonlySet<number>,
  { penalty, temperature }: { penalty: number; temperature: number },
): void {
  for (const id of seen) {
    const logit = logits[id]!
    weights[id]! *= Math.exp((penalized(logit, penalty) - logit) / temperature)
  }
}

const penalized = (logit: number, penalty: number): number =>
  logit > 0 ? logit / penalty : logit * penalty

/** The greedy choice under a penalty: the largest logit, those of seen tokens changed. */
export function penalizedArgMax(
  logits: Float32Array,
  seen: ReadonlySet<number>,
  penalty: number,
): number {
  let best = 0
  let most = Number.NEGATIVE_INFINITY
  for (let id = 0; id < logits.length; id++) {
    const logit = seen.has(id) ? penalized(logits[id]!, penalty) : logits[id]!
    if (logit > most) [best, most] = [id, logit]
  }
  return best
}

/** The largest element; of equal ones the first. */
export function argMax(values: Float32Array): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i
  return best
}

/**
 * Indices of `weights` at or above the k-th largest value; the first k of them where there are
 * ties.
 */
function largest(weights: Float32Array, k: number): number[] {
  const kept: number[] = [] // a heap, the least likely on top
  const less = (a: number, b: number) =>
    weights[a]! < weights[b]! || (weights[a]! === weights[b]! && a > b)
  const sift = () => {
    for (let i = 0; ; ) {
      let least = i
      for (const child of [2 * i + 1, 2 * i + 2]) {
        if (child < kept.length && less(kept[child]!, kept[least]!)) least = child
      }
      if (least === i) return
      ;[kept[i], kept[least]] = [kept[least]!, kept[i]!]
      i = least
    }
  }
  for (let id = 0; id < weights.length; id++) {
    if (kept.length < k) {
      kept.push(id)
      if (kept.length === k) {
        kept.sort((a, b) => (less(a, b) ? -1 : 1)) // a sorted list is a heap
      }
    } else if (less(kept[0]!, id)) {
      kept[0] = id
      sift()
    }
  }
  return kept
}

/**
 * Indices of the most likely tokens, most likely first, whose weights first add up to at least
 * `mass`. Only what is above a floor is sorted; the floor falls until it holds enough.
 */
function nucleus(weights: Float32Array, mass: number): number[] {
  let peak = 0
  for (const weight of weights) if (weight > peak) peak = weight
  for (let floor = peak / 64; ; floor = floor > 1e-30 ? floor / 256 : 0) {
    const above: number[] = []
    let sum = 0
    for (let id = 0; id < weights.length; id++) {
      if (weights[id]! >= floor) {
        above.push(id)
        sum += weights[id]!
      }
    }
    if (sum < mass && floor > 0) continue
    above.sort((a, b) => weights[b]! - weights[a]! || a - b)
    let count = 0
    for (let reached = 0; count < above.length && reached < mass; count++) {
      reached += weights[above[count]!]!
    }
    return above.slice(0, count)
  }
}

const total = (weights: Float32Array, ids: readonly number[]) =>
  ids.reduce((sum, id) => sum + weights[id]!, 0)

/**
 * The candidates left by top-k, then top-p (of what top-k left, as Transformers does), then min-p.
 */
function candidates(weights: Float32Array, sampling: Sampling): number[] | undefined {
  const ids = likeliest(weights, sampling)
  const { minP = 0 } = sampling
  if (minP === 0) return ids
  let peak = 0
  for (const weight of weights) if (weight > peak) peak = weight
  const all = ids ?? weights.keys()
  const kept: number[] = []
  for (const id of all) if (weights[id]! >= minP * peak) kept.push(id)
  return kept
}

function likeliest(weights: Float32Array, { topK, topP }: Sampling): number[] | undefined {
  const restrictsK = topK !== undefined && topK > 0 && topK < weights.length
  const restrictsP = topP !== undefined && topP < 1
  if (!restrictsK) {
    if (!restrictsP) return undefined
    let sum = 0
    for (const weight of weights) sum += weight
    return nucleus(weights, topP * sum)
  }
  const kept = largest(weights, topK).sort((a, b) => weights[b]! - weights[a]! || a - b)
  if (!restrictsP) return kept
  const mass = topP * total(weights, kept)
  let count = 0
  for (let reached = 0; count < kept.length && reached < mass; count++) {
    reached += weights[kept[count]!]!
  }
  return kept.slice(0, count)
}

/**
 * Draws a token: the inverse of the cumulative distribution at `u`, sums in float64.
 *
 * @param weights probabilities at the sampling's temperature up to a factor, [V]
 * @param u uniform in [0, 1)
 */
export function drawToken(weights: Float32Array, sampling: Sampling, u: number): number {
  const ids = candidates(weights, sampling)
  if (ids) {
    const target = u * total(weights, ids)
    let sum = 0
    for (const id of ids) {
      sum += weights[id]!
      if (sum > target) return id
    }
    return ids[ids.length - 1]!
  }
  let all = 0
  for (const weight of weights) all += weight
  const target = u * all
  let sum = 0
  for (let id = 0; id < weights.length; id++) {
    sum += weights[id]!
    if (sum > target) return id
  }
  return argMax(weights)
}

/** Indices of the k largest, the largest first; of equal ones the lower index. */
export function largestIndices(values: Float32Array, k: number): number[] {
  const top: number[] = []
  if (k === 0) return top
  let least = -Infinity
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!
    if (top.length === k && !(value > least)) continue
    let at = top.length
    while (at > 0 && value > values[top[at - 1]!]!) at--
    top.splice(at, 0, i)
    if (top.length > k) top.pop()
    least = values[top.at(-1)!]!
  }
  return top
}

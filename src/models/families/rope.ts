import type { Rope } from "./shape.ts"

function defaultFrequencies(ropeTheta: number, rotaryDim: number): Float64Array {
  return Float64Array.from({ length: rotaryDim / 2 }, (_, i) => ropeTheta ** ((-2 * i) / rotaryDim))
}

/**
 * Llama 3.1's stretch: long wavelengths divided by `factor`, short ones kept, a linear blend
 * between. Source: Transformers `_compute_llama3_parameters` (from Meta's reference code).
 */
function llama3Frequencies(rope: Extract<Rope, { ropeType: "llama3" }>): Float64Array {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings } = rope
  const low = originalMaxPositionEmbeddings / lowFreqFactor
  const high = originalMaxPositionEmbeddings / highFreqFactor
  return defaultFrequencies(rope.ropeTheta, rope.rotaryDim).map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency
    if (wavelength > low) return frequency / factor
    if (wavelength < high) return frequency
    const rotations = originalMaxPositionEmbeddings / wavelength
    const smooth = (rotations - lowFreqFactor) / (highFreqFactor - lowFreqFactor)
    return ((1 - smooth) * frequency) / factor + smooth * frequency
  })
}

/**
 * YaRN (Peng et al., arXiv 2309.00071, section 3.2): dimensions that turn often at the trained
 * length keep their frequency, those that turn seldom are stretched, a ramp between.
 * Source: Transformers `_compute_yarn_parameters`.
 */
function yarnFrequencies(rope: Extract<Rope, { ropeType: "yarn" }>): Float64Array {
  const { ropeTheta, rotaryDim, factor, originalMaxPositionEmbeddings: trained, truncate } = rope
  const dimension = (rotations: number) =>
    (rotaryDim * Math.log(trained / (rotations * 2 * Math.PI))) / (2 * Math.log(ropeTheta))
  const [first, last] = [dimension(rope.betaFast), dimension(rope.betaSlow)]
  const low = Math.max(truncate ? Math.floor(first) : first, 0)
  const high = Math.min(truncate ? Math.ceil(last) : last, rotaryDim - 1)
  const width = high === low ? 0.001 : high - low
  return defaultFrequencies(ropeTheta, rotaryDim).map((frequency, i) => {
    const stretched = Math.min(1, Math.max(0, (i - low) / width))
    return (frequency / factor) * stretched + frequency * (1 - stretched)
  })
}

/**
 * Inverse frequencies [rotaryDim / 2] for a sequence of `length` tokens. `dynamic` depends on the
 * length past maxPositionEmbeddings (NTK-aware: a larger base), `longrope` on whether it is past
 * the trained one.
 */
export function inverseFrequencies(rope: Rope, length: number): Float64Array {
  const { ropeTheta, rotaryDim } = rope
  switch (rope.ropeType) {
    case "default":
      return defaultFrequencies(ropeTheta, rotaryDim)
    case "linear":
      return defaultFrequencies(ropeTheta, rotaryDim).map((f) => f / rope.factor)
    case "dynamic": {
      const stretch =
        (rope.factor * lengthClass(rope, length)) / rope.maxPositionEmbeddings - (rope.factor - 1)
      const base = ropeTheta * stretch ** (rotaryDim / (rotaryDim - 2))
      return defaultFrequencies(base, rotaryDim)
    }
    case "llama3":
      return llama3Frequencies(rope)
    case "yarn":
      return yarnFrequencies(rope)
    case "longrope": {
      const factors = lengthClass(rope, length) === 0 ? rope.shortFactor : rope.longFactor
      return defaultFrequencies(ropeTheta, rotaryDim).map((f, i) => f / factors[i]!)
    }
  }
}

/** What cos and sin are multiplied with. */
const attentionFactor = (rope: Rope) => ("attentionFactor" in rope ? rope.attentionFactor : 1)

/** Lengths with the same result share one table of frequencies. */
function lengthClass(rope: Rope, length: number): number {
  if (rope.ropeType === "dynamic") return Math.max(length, rope.maxPositionEmbeddings)
  if (rope.ropeType === "longrope") return length > rope.originalMaxPositionEmbeddings ? 1 : 0
  return 0
}

/** Whether a token's turn depends on how long its sequence is. */
export const turnsByLength = ({ ropeType }: Rope): boolean =>
  ropeType === "dynamic" || ropeType === "longrope"

export interface RopeTables {
  /** [positions, rotaryDim / 2], row major: row p is cos(p * frequencies). */
  readonly cos: Float32Array
  readonly sin: Float32Array
}

/**
 * cos and sin of positions 0 .. positions-1 of a sequence of `length` tokens, each
 * [positions, rotaryDim / 2]. Computed in float64: at position 100,000 a float32 angle is already
 * off by 0.004. Checkpoints in this layout rotate halves: element i is paired with element
 * i + rotaryDim / 2.
 */
export function ropeTables(rope: Rope, positions: number, length = positions): RopeTables {
  const frequencies = inverseFrequencies(rope, length)
  const factor = attentionFactor(rope)
  const half = frequencies.length
  const cos = new Float32Array(positions * half)
  const sin = new Float32Array(positions * half)
  for (let position = 0; position < positions; position++) {
    for (let i = 0; i < half; i++) {
      const angle = position * frequencies[i]!
      cos[position * half + i] = factor * Math.cos(angle)
      sin[position * half + i] = factor * Math.sin(angle)
    }
  }
  return { cos, sin }
}

/**
 * The rows of the tables at some places, each in a sequence of its own length; kept from call to
 * call.
 */
export class RopeRows {
  readonly #rope: Rope
  readonly #tables = new Map<number, RopeTables>()

  constructor(rope: Rope) {
    this.#rope = rope
  }

  /** The longest sequence that turns as one of `length` tokens does. */
  last(length: number): number {
    const rope = this.#rope
    if (rope.ropeType === "dynamic") return Math.max(length, rope.maxPositionEmbeddings)
    const isShort = rope.ropeType === "longrope" && lengthClass(rope, length) === 0
    return isShort ? rope.originalMaxPositionEmbeddings : Number.POSITIVE_INFINITY
  }

  /** cos and sin at places[i] of a sequence of lengths[i] tokens, each [rows, rotaryDim / 2]. */
  at(places: ArrayLike<number>, lengths: ArrayLike<number>): RopeTables {
    const half = this.#rope.rotaryDim / 2
    const cos = new Float32Array(places.length * half)
    const sin = new Float32Array(places.length * half)
    for (let row = 0; row < places.length; row++) {
      const from = places[row]! * half
      const table = this.#table(lengths[row]!, places[row]! + 1)
      cos.set(table.cos.subarray(from, from + half), row * half)
      sin.set(table.sin.subarray(from, from + half), row * half)
    }
    return { cos, sin }
  }

  #table(length: number, positions: number): RopeTables {
    const key = lengthClass(this.#rope, length)
    const known = this.#tables.get(key)
    if (known && known.cos.length >= positions * (this.#rope.rotaryDim / 2)) return known
    // A class of its own for every length past the maximum would fill the memory.
    if (!known && this.#tables.size >= TABLES_KEPT) this.#tables.clear()
    const made = ropeTables(this.#rope, Math.max(LEAST_POSITIONS, 2 * positions, length), length)
    this.#tables.set(key, made)
    return made
  }
}

const TABLES_KEPT = 8
const LEAST_POSITIONS = 256

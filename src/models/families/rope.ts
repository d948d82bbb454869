import type { DecoderShape, Rope } from "./shape.ts"

function defaultFrequencies(ropeTheta: number, headDim: number): Float64Array {
  return Float64Array.from({ length: headDim / 2 }, (_, i) => ropeTheta ** ((-2 * i) / headDim))
}

/**
 * Llama 3.1's stretch: long wavelengths divided by `factor`, short ones kept, a linear blend between.
 * Source: Transformers `_compute_llama3_parameters` (from Meta's reference code).
 */
function llama3Frequencies(rope: Extract<Rope, { ropeType: "llama3" }>, headDim: number) {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings } = rope
  const low = originalMaxPositionEmbeddings / lowFreqFactor
  const high = originalMaxPositionEmbeddings / highFreqFactor
  return defaultFrequencies(rope.ropeTheta, headDim).map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency
    if (wavelength > low) return frequency / factor
    if (wavelength < high) return frequency
    const rotations = originalMaxPositionEmbeddings / wavelength
    const smooth = (rotations - lowFreqFactor) / (highFreqFactor - lowFreqFactor)
    return ((1 - smooth) * frequency) / factor + smooth * frequency
  })
}

type RopeFields = Pick<DecoderShape, "rope" | "headDim" | "maxPositionEmbeddings">

/**
 * Inverse frequencies [D / 2] for sequences of up to `sequenceLength` tokens. Only `dynamic`
 * depends on the length, and only past maxPositionEmbeddings (NTK-aware: a larger base).
 */
export function inverseFrequencies(shape: RopeFields, sequenceLength: number): Float64Array {
  const { rope, headDim, maxPositionEmbeddings } = shape
  switch (rope.ropeType) {
    case "default":
      return defaultFrequencies(rope.ropeTheta, headDim)
    case "linear":
      return defaultFrequencies(rope.ropeTheta, headDim).map((f) => f / rope.factor)
    case "dynamic": {
      const length = Math.max(sequenceLength, maxPositionEmbeddings)
      const stretch = (rope.factor * length) / maxPositionEmbeddings - (rope.factor - 1)
      return defaultFrequencies(rope.ropeTheta * stretch ** (headDim / (headDim - 2)), headDim)
    }
    case "llama3":
      return llama3Frequencies(rope, headDim)
  }
}

export interface RopeTables {
  /** [positions, D / 2], row major: row p is cos(p * frequencies). */
  readonly cos: Float32Array
  readonly sin: Float32Array
}

/**
 * cos and sin of positions 0 .. positions-1, each [positions, D / 2]. Computed in float64: at
 * position 100,000 a float32 angle is already off by 0.004.
 * Checkpoints in this layout rotate halves: element i is paired with element i + D / 2.
 */
export function ropeTables(shape: RopeFields, positions: number): RopeTables {
  const frequencies = inverseFrequencies(shape, positions)
  const half = frequencies.length
  const cos = new Float32Array(positions * half)
  const sin = new Float32Array(positions * half)
  for (let position = 0; position < positions; position++) {
    for (let i = 0; i < half; i++) {
      const angle = position * frequencies[i]
      cos[position * half + i] = Math.cos(angle)
      sin[position * half + i] = Math.sin(angle)
    }
  }
  return { cos, sin }
}

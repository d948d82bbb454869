/** Weight decay is for matrices: tensors of one dimension (norms, biases) are left alone. */
export function decays(shape: readonly number[]): boolean {
  return shape.length >= 2
}

/** What an update leaves of a parameter before it changes it: 1 - lr decay. */
export function keptShare(
  { decay, learningRate, weightDecay: own }: DecayStep,
  { weightDecay }: { readonly weightDecay: number },
): number {
  return decay ? 1 - learningRate * (own ?? weightDecay) : 1
}

interface DecayStep {
  readonly decay: boolean
  readonly learningRate: number
  readonly weightDecay?: number | undefined
}

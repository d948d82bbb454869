/** Weight decay is for matrices: tensors of one dimension (norms, biases) are left alone. */
export function decays(shape: readonly number[]): boolean {
  return shape.length >= 2
}

/**
 * The factor that brings a gradient of global norm `norm` to at most `max` (0: no clipping):
 *
 *     min(1, max / (norm + 1e-6))
 *
 * The epsilon is torch.nn.utils.clip_grad_norm_'s. A norm that is not finite gives NaN or 0
 * upstream: the trainer stops before it asks.
 */
export function clipScale(norm: number, max: number): number {
  if (max === 0) return 1
  return Math.min(1, max / (norm + 1e-6))
}

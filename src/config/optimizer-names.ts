/** Optimizers, and what Transformers' `optim` calls the same arithmetic. */

export const OPTIMIZERS = ["adamw", "adamw-8bit", "adafactor", "lion", "muon"] as const
export type OptimizerName = (typeof OPTIMIZERS)[number]

/**
 * Fused, paged and other libraries' kernels of one rule update alike but for rounding; `lion_8bit`
 * and AdamW in 4 bits are other rules, and have no name here.
 */
const SPELLINGS: readonly (readonly [RegExp, OptimizerName])[] = [
  [/^adamw(_hf|_apex_fused|_torch(_fused|_xla|_npu_fused)?)?$/, "adamw"],
  [/^paged_adamw(_32bit)?$/, "adamw"],
  [/^(paged_)?adamw_(bnb_|torch_)?8bit$/, "adamw-8bit"],
  [/^(paged_)?lion(_32bit)?$/, "lion"],
]

/** The optimizer that a name of Transformers' means; undefined where none of ours is the same. */
export function optimizerNamed(value: unknown): OptimizerName | undefined {
  const name = String(value)
  return (
    OPTIMIZERS.find((own) => own === name) ??
    SPELLINGS.find(([spelling]) => spelling.test(name))?.[1]
  )
}

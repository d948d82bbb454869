/** bfloat16 products beside float32 ones: the kernels alone, and a whole step. */
import { graph, input } from "../graph/index.ts"
import type { Device } from "../runtime/index.ts"
import { float32 } from "../runtime/index.ts"
import { bf16Kernel } from "../runtime/node.ts"
import type { StepRow } from "../train/batches.ts"
import { storesReference } from "../train/objective-batches.ts"
import { sequenceLogprobs } from "../train/sequence-logprobs.ts"
import { type Comparison, judged, notMade, type Row, relative } from "./comparison.ts"
import { type Measured, measured, withModel } from "./measurements.ts"
import type { Subject } from "./subject.ts"

/**
 * What is usual is a few times what SmolLM2-135M shows on GSM8K rows: NLL 4e-4, loss 1e-3,
 * gradients 4e-2 (docs/log.md, 2026-11-30).
 */
const KERNELS: Row = {
  name: "kernels",
  compared: "bfloat16 products with float32 products of the same rounded numbers",
  usual: 2e-6,
}
const NLL: Row = {
  name: "precision of the NLL",
  compared: "a step with bfloat16 products with the same step in float32",
  usual: 5e-3,
}
const LOSS: Row = { ...NLL, name: "precision of the loss", usual: 2e-2 }
const GRADIENTS: Row = { ...NLL, name: "precision of the gradients", usual: 0.12 }

/** Rows, inner size and columns of the products that are tried: whole tiles and parts of them. */
const SIZES = [
  [64, 512, 256],
  [33, 1100, 70],
  [1, 256, 128],
] as const

export async function precisionComparisons(subject: Subject): Promise<Comparison[]> {
  if (bf16Kernel() === undefined) {
    const why = "this processor does not multiply bfloat16, so nothing is computed in it"
    return [KERNELS, NLL, LOSS, GRADIENTS].map((row) => notMade(row, why))
  }
  return [
    judged(KERNELS, { difference: await kernelDifference(subject) }),
    ...(await steps(subject)),
  ]
}

async function steps(subject: Subject): Promise<Comparison[]> {
  const { plan, tried } = subject
  const { objective, split } = plan
  const rows = await comparedRows(subject)
  const batch = tried.stepBatch(rows, { ...split, normalization: objective.normalization })
  const measure = (dtype: "bf16" | "fp32") =>
    withModel(subject, dtype, (model) =>
      measured(model, batch, objective, plan.rollout?.settings.temperature),
    )
  const plain = await measure("fp32")
  const fast = await measure("bf16")
  const share = (a: number, b: number) => (a === b ? 0 : Math.abs(a - b) / Math.abs(b))
  return [
    judged(NLL, { difference: share(fast.nll, plain.nll), detail: shown(fast.nll, plain.nll) }),
    plan.rollout
      ? notMade(LOSS, "the advantages of a group add up to nothing, and so does the loss")
      : judged(LOSS, {
          difference: share(fast.loss, plain.loss),
          detail: shown(fast.loss, plain.loss),
        }),
    judged(GRADIENTS, furthestLayer(fast, plain)),
  ]
}

/**
 * With what the model says of them as their reference, where rows are compared with how it begins.
 */
async function comparedRows(subject: Subject): Promise<readonly StepRow[]> {
  const { rows, plan, signal } = subject
  if (plan.rollout || !storesReference(plan.objective)) return rows
  const all = await withModel(subject, "fp32", ({ policy }) =>
    sequenceLogprobs(policy.decoder, rows, { split: plan.split, signal }),
  )
  return rows.map((row, i) => ({ ...row, columns: { ...row.columns, ref_logp: all[i]! } }))
}

const shown = (fast: number, plain: number) => `${fast.toPrecision(6)} and ${plain.toPrecision(6)}`

/** The layer whose gradients, all its tensors together, are furthest apart. */
function furthestLayer(fast: Measured, plain: Measured) {
  const layers = new Map<string, { error: number; size: number }>()
  for (const [name, expected] of plain.gradients) {
    const layer = /layers\.\d+/.exec(name)?.[0] ?? name
    const sums = layers.get(layer) ?? { error: 0, size: 0 }
    layers.set(layer, sums)
    const got = fast.gradients.get(name)!
    for (let i = 0; i < expected.length; i++) {
      sums.error += (got[i]! - expected[i]!) ** 2
      sums.size += expected[i]! ** 2
    }
  }
  let worst = { difference: 0, detail: "" }
  for (const [layer, { error, size }] of layers) {
    const difference = error === 0 ? 0 : Math.sqrt(error / size)
    if (!(difference <= worst.difference)) worst = { difference, detail: `most in ${layer}` }
  }
  return worst
}

async function kernelDifference({ plan, tried }: Subject): Promise<number> {
  const { threads } = plan.engine
  const fast = await tried.openDevice({ device: "cpu", threads, dtype: "bf16" })
  const plain = await tried.openDevice({ device: "cpu", threads, dtype: "fp32" })
  try {
    let most = 0
    for (const [m, k, n] of SIZES) {
      for (const transB of [true, false]) {
        const x = rounded(m * k, 1)
        const w = rounded(k * n, 2)
        const parts = { m, k, n, transB, x, w }
        const fed = await products(fast, parts, false)
        const packed = await products(fast, parts, true)
        const expected = await products(plain, parts, false)
        const apart = Math.max(relative(fed, expected), relative(packed, expected))
        if (!(apart <= most)) most = apart
      }
    }
    return most
  } finally {
    await fast.release()
    await plain.release()
  }
}

interface ProductParts {
  readonly m: number
  readonly k: number
  readonly n: number
  readonly transB: boolean
  readonly x: Float32Array
  readonly w: Float32Array
}

/** One product, its right factor as it is or packed. */
async function products(
  device: Device,
  { m, k, n, transB, x, w }: ProductParts,
  isPacked: boolean,
): Promise<Float32Array> {
  const dims = transB ? [n, k] : [k, n]
  const y = input("x", [m, k]).matmul(input("w", dims), { transB })
  const executable = await device.compile(graph("product", { y }))
  const factor = float32(dims, w)
  const feeds = {
    x: await device.upload(float32([m, k], x)),
    w: await (isPacked ? device.uploadFactor(factor) : device.upload(factor)),
  }
  const results = await executable.run(feeds)
  const { data } = await device.download(results.y!)
  await executable.release()
  return data as Float32Array
}

/** Numbers without order in [-1, 1) whose lower 16 bits are zero, so that rounding changes none. */
function rounded(length: number, seed: number): Float32Array {
  let state = seed
  const numbers = Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 31 - 1
  })
  const bits = new Uint32Array(numbers.buffer)
  for (let i = 0; i < bits.length; i++) bits[i] = bits[i]! & 0xffff0000
  return numbers
}

import { type Dim, gradients, input, type Tensor } from "../../graph/index.ts"
import { tanh } from "../block/attention.ts"
import { cappedLogits, headInput, logitSettings } from "../block/outer-parts.ts"
import type { DecoderShape } from "../families/shape.ts"

/** Per supervised token, each [n, 1]: what a loss may be made of. */
export interface TokenQuantities {
  readonly logp: Tensor
  /** Entropy of the next-token distribution, nats. */
  readonly entropy: Tensor
  /** Entropy over the renormalised 20 most likely tokens, nats. */
  readonly topk_entropy?: Tensor
  readonly ref_logp?: Tensor
  /** KL(reference || policy) over the whole vocabulary, nats. */
  readonly kl_ref?: Tensor
  /** The generalised Jensen-Shannon divergence from the reference, nats. */
  readonly jsd_ref?: Tensor
  /** Of a sequence, where the model is a reward model; it has nothing of the above. */
  readonly score?: Tensor
  /** What the value head says of a position, before its token. */
  readonly value?: Tensor
  /** Columns and scalars fed from outside, by name. */
  readonly [column: string]: Tensor | undefined
}

/**
 * A loss per token and its derivatives by the quantities through which the model is reached, each
 * [n, 1].
 */
export interface TokenLoss {
  readonly loss: Tensor
  readonly coefficients: {
    readonly logp?: Tensor
    readonly entropy?: Tensor
    readonly kl_ref?: Tensor
    readonly jsd_ref?: Tensor
    readonly score?: Tensor
    readonly value?: Tensor
  }
}

export interface HeadOptions {
  readonly shape: DecoderShape
  /** Names of per-token inputs fed from outside, f32 [n, 1]. */
  readonly columns?: readonly string[]
  /** Names of per-step inputs, f32 []. */
  readonly scalars?: readonly string[]
  readonly topkEntropy?: boolean
  /** Also `ref_logp` and `kl_ref`, from the reference's hidden states, norm and head. */
  readonly reference?: boolean
  /** Of another model as reference, which may be of another width; left out: the policy's own. */
  readonly referenceShape?: DecoderShape
  /**
   * Also `jsd_ref`, the divergence at this beta: 0 KL(reference || policy), 1 KL(policy ||
   * reference).
   */
  readonly jsdBeta?: number
  /** Also `value`, from the value head's weight. */
  readonly value?: boolean
  /** What the logits are divided by, the reference's too: that of the samples' distribution. */
  readonly temperature?: number
  readonly loss: (quantities: TokenQuantities) => TokenLoss
}

const TOP_K = 20

/**
 * n, the supervised positions of a chunk: known when it runs, so one graph serves chunks of any
 * size.
 */
const ROWS = "rows"

/**
 * The next-token distribution, and of each label its log-probability and whether it is the most
 * likely token.
 */
interface Distribution {
  readonly logits: Tensor // [n, V]
  /** The cap's slope, [n, V], where the family caps its logits. */
  readonly slope: Tensor | undefined
  readonly p: Tensor // [n, V]
  readonly lse: Tensor // [n, 1]
  readonly logp: Tensor // [n, 1]
  readonly correct: Tensor // [n, 1]
}

interface Shaping {
  readonly softcap: number | undefined
  readonly temperature: number
  readonly vocabSize: number
}

/**
 * log p = z_y - lse with lse = max z - log max p: the largest probability is at least 1/V, so its
 * logarithm is exact to rounding where that of p_y would underflow (docs/method.md, 4.12).
 */
function distribution(
  h: Tensor,
  head: Tensor,
  labels: Tensor,
  { softcap, temperature, vocabSize }: Shaping,
): Distribution {
  const all = h.matmul(head, { transB: true })
  // A head may have rows behind the vocabulary that stand for no token of it.
  const products = head.shape[0] === vocabSize ? all : all.slice(1, 0, vocabSize)
  const capped = softcap === undefined ? undefined : tanh(products.div(softcap))
  const plain = capped && softcap !== undefined ? capped.mul(softcap) : products
  const logits = temperature === 1 ? plain : plain.div(temperature)
  const slope = capped?.mul(capped).neg().add(1)
  const p = logits.softmax()
  const top = logits.reduceMax(-1, { keepDims: true })
  const lse = top.sub(p.reduceMax(-1, { keepDims: true }).log())
  const target = logits.gatherElements(labels)
  const correct = top.lessOrEqual(target).cast("f32")
  return { logits, slope, p, lse, logp: target.sub(lse), correct }
}

/**
 * sum_v a_v b_v for each row, [n, V] and [n, V] -> [n, 1]: a product, so that no third [n, V]
 * exists. Both factors as rows: a column's numbers are added one at a time (6 GB/s instead of 20).
 */
function rowDot(a: Tensor, b: Tensor): Tensor {
  const [rows, columns] = a.shape as [Dim, number]
  return a
    .reshape([rows, 1, columns])
    .matmul(b.reshape([rows, 1, columns]), { transB: true, exact: true })
    .reshape([rows, 1])
}

/** The smallest a mixture is taken for: below it both of its parts are 0 in float32. */
const SMALLEST = 1e-37

interface Divergence {
  /** [n, 1] */
  readonly value: Tensor
  /**
   * Its slope by the policy's logits at temperature 1, factor times D each: [n, 1] or a number, and
   * [n, V].
   */
  readonly slope: readonly { readonly factor: number; readonly D: Tensor }[]
}

/**
 * The generalised Jensen-Shannon divergence between the policy p and a reference q over the whole
 * vocabulary, as GKD has it (arXiv 2306.13649, equation 1; TRL's `generalized_jsd_loss`):
 *
 *     m = (1 - beta) p + beta q
 *     JSD = beta KL(q || m) + (1 - beta) KL(p || m)       0 < beta < 1
 *     beta 0: KL(q || p)     beta 1: KL(p || q)
 *
 * What flows through m cancels: d JSD / dz = (1 - beta) p (ln p - ln m - KL(p || m)).
 */
function divergence(policy: Distribution, reference: Distribution, beta: number): Divergence {
  const [p, q] = [policy.p, reference.p]
  const lnP = policy.logits.sub(policy.lse)
  const lnQ = reference.logits.sub(reference.lse)
  if (beta === 0) {
    const slope = [
      { factor: 1, D: p },
      { factor: -1, D: q },
    ]
    return { value: rowDot(q, lnQ.sub(lnP)).max(0), slope }
  }
  const lnM =
    beta === 1
      ? lnQ
      : p
          .mul(1 - beta)
          .add(q.mul(beta))
          .max(SMALLEST)
          .log()
  const apart = lnP.sub(lnM)
  const fromM = rowDot(p, apart) // KL(p || m)
  const factor = beta === 1 ? 1 : 1 - beta
  const slope = [{ factor, D: p.mul(apart.sub(fromM)) }]
  if (beta === 1) return { value: fromM.max(0), slope }
  const ofQ = rowDot(q, lnQ.sub(lnM))
  return {
    value: ofQ
      .mul(beta)
      .add(fromM.mul(1 - beta))
      .max(0),
    slope,
  }
}

/** Entropy of the softmax over the K largest logits. */
function topkEntropy(logits: Tensor): Tensor {
  const top = logits.topK(TOP_K)
  const q = top.softmax()
  return rowDot(q, q.max(1e-30).log()).neg()
}

/**
 * The final norm, the head and the loss for some supervised positions.
 *
 *     dz = c_logp (onehot - p) + c_kl (p - p_ref) - c_H p (z - lse + H) + c_jsd d JSD / dz
 *
 * with c the loss's derivatives. Each term is a distribution scaled by rows, so the products with
 * the head's weights take the distributions as they are and the scales go to the [n, C] side:
 * beside the logits, their softmax is the only [n, V] array (where a family caps its logits, the
 * cap's slope is another, and multiplies them). The one-hot part is added to the rows
 * of the weight's gradient by whoever holds them (`label_rows`, `dhidden` already has it).
 */
function headGraph(options: HeadOptions) {
  const { hiddenSize: C, vocabSize: V } = options.shape
  const { softcap } = logitSettings(options.shape)
  const hidden = input("hidden", [ROWS, C])
  const norm = input("norm.weight", [C])
  const head = input("head.weight", [V, C])
  const labels = input("labels", [ROWS, 1], "i64")
  // What a token's loss is multiplied with in the sum.
  const scale = input("scale", [ROWS, 1])

  const h = headInput(hidden, norm, options.shape)
  const shaping = { softcap, temperature: options.temperature ?? 1, vocabSize: V }
  const policy = distribution(h, head, labels, shaping)
  const { logits, p, lse, logp } = policy
  const entropy = lse.sub(rowDot(p, logits))
  const quantities: Record<string, Tensor> = { logp, entropy }
  for (const name of options.columns ?? []) quantities[name] = input(name, [ROWS, 1])
  for (const name of options.scalars ?? []) quantities[name] = input(name, [])
  if (options.topkEntropy) quantities.topk_entropy = topkEntropy(logits)

  const valueHead = options.value ? input("value.weight", [1, C]) : undefined
  if (valueHead) quantities.value = h.matmul(valueHead, { transB: true, exact: true })

  const reference = options.reference ? referenceOf(options, labels) : undefined
  if (reference) {
    const gap = rowDot(reference.p, reference.logits.sub(logits)) // sum p_ref (z_ref - z)
    quantities.ref_logp = reference.logp
    quantities.kl_ref = gap.sub(reference.lse).add(lse).max(0)
  }
  const jsd =
    reference && options.jsdBeta !== undefined
      ? divergence(policy, reference, options.jsdBeta)
      : undefined
  if (jsd) quantities.jsd_ref = jsd.value

  const { loss, coefficients } = options.loss(quantities as unknown as TokenQuantities)
  const statistics = {
    logp,
    entropy,
    correct: policy.correct,
    loss: loss.add(scale.mul(0)),
    weight: (coefficients.logp?.neg() ?? scale).add(scale.mul(0)),
    ...(reference ? { kl_ref: quantities.kl_ref!, ref_logp: quantities.ref_logp! } : {}),
    ...(jsd ? { jsd_ref: jsd.value } : {}),
    ...(options.topkEntropy ? { topk_entropy: quantities.topk_entropy! } : {}),
    ...(valueHead ? { value: quantities.value! } : {}),
  }
  return {
    hidden,
    norm,
    head,
    labels,
    scale,
    h,
    policy,
    reference,
    jsd,
    entropy,
    valueHead,
    coefficients,
    statistics,
  }
}

/** What a frozen model says of the same positions. */
function referenceOf(options: HeadOptions, labels: Tensor): Distribution {
  const shape = options.referenceShape ?? options.shape
  const { hiddenSize: C, vocabSize: V } = shape
  const hidden = input("ref.hidden", [ROWS, C])
  const norm = input("ref.norm.weight", [C])
  const head = input("ref.head.weight", [V, C])
  const { softcap } = logitSettings(shape)
  const { temperature = 1 } = options
  const { vocabSize } = options.shape
  return distribution(headInput(hidden, norm, shape), head, labels, {
    ...{ softcap, temperature, vocabSize },
  })
}

type Outputs = Record<string, Tensor>

/** Forward only: the statistics of each token. */
export function headForward(options: HeadOptions): Outputs {
  return headGraph(options).statistics
}

/** The logits of some positions, [n, V], as the family makes them: nothing else is computed. */
export function headLogits(shape: DecoderShape): Outputs {
  const { hiddenSize: C, vocabSize: V } = shape
  const h = headInput(input("hidden", [ROWS, C]), input("norm.weight", [C]), shape)
  const products = h.matmul(input("head.weight", [V, C]), { transB: true })
  return { logits: cappedLogits(products, shape) }
}

export interface HeadTraining {
  /** The norm's weight is trained: `grad.norm.weight` grows from `acc.norm.weight`. */
  readonly norm: boolean
  /**
   * The head's weight is trained: `grad.head.weight` grows from `acc.head.weight`, without the
   * one-hot part.
   */
  readonly head: boolean
  /** The value head's weight is trained: `grad.value.weight` grows from `acc.value.weight`. */
  readonly value?: boolean
}

/**
 * Forward and backward: also `dhidden` [n, C], the trained weights' gradients, and `label_rows` [n,
 * C].
 */
export function headBackward(options: HeadOptions, training: HeadTraining): Outputs {
  const graph = headGraph(options)
  const { hidden, norm, head, labels, scale, h, policy, reference, jsd, entropy } = graph
  const { C, V } = { C: options.shape.hiddenSize, V: options.shape.vocabSize }
  // d z / d (h W^T) is 1 / temperature.
  const { temperature = 1 } = options
  const scaled = (x: Tensor | undefined) =>
    temperature === 1 ? x?.mul(scale) : x?.mul(scale).div(temperature)
  const cLogp = scaled(graph.coefficients.logp)
  const cKl = scaled(graph.coefficients.kl_ref)
  const cJsd = scaled(graph.coefficients.jsd_ref)
  const cEntropy = scaled(graph.coefficients.entropy)

  // dz = sum_i factor_i * D_i, each D_i [n, V], plus cLogp at the label.
  const terms: { readonly factor: Tensor; readonly D: Tensor }[] = []
  const ofP = [cLogp?.neg(), cKl].filter((x) => x !== undefined)
  if (ofP.length > 0) terms.push({ factor: ofP.reduce((a, b) => a.add(b)), D: policy.p })
  if (cKl && reference) terms.push({ factor: cKl.neg(), D: reference.p })
  for (const { factor, D } of (cJsd && jsd?.slope) ?? []) {
    terms.push({ factor: cJsd!.mul(factor), D })
  }
  if (cEntropy) {
    const surprise = policy.logits.sub(policy.lse).add(entropy)
    terms.push({ factor: cEntropy.neg(), D: policy.p.mul(surprise) })
  }

  const add = (a: Tensor | undefined, b: Tensor) => (a ? a.add(b) : b)
  let dh: Tensor | undefined
  let dHead: Tensor | undefined = training.head ? input("acc.head.weight", [V, C]) : undefined
  const { slope } = policy
  for (const { factor, D: uncapped } of terms) {
    const D = slope ? uncapped.mul(slope) : uncapped
    dh = add(dh, D.matmul(head).mul(factor)) // [n, C]
    if (training.head) dHead = add(D.matmul(h.mul(factor), { transA: true }), dHead!)
  }
  const outputs: Outputs = { ...graph.statistics }
  if (cLogp) {
    const c = slope ? cLogp.mul(slope.gatherElements(labels)) : cLogp
    dh = add(dh, head.gather(labels.reshape([ROWS])).mul(c))
    if (training.head) outputs.label_rows = h.mul(c)
  }
  const cValue = graph.coefficients.value?.mul(scale)
  if (graph.valueHead && cValue) dh = add(dh, cValue.matmul(graph.valueHead))
  if (training.value && cValue) {
    const sum = cValue.matmul(h, { transA: true, exact: true }) // [1, C]
    outputs["grad.value.weight"] = sum.add(input("acc.value.weight", [1, C]))
  }
  const [dHidden, dNorm] = gradients([{ output: h, gradient: dh ?? h.mul(0) }], [hidden, norm])
  outputs.dhidden = dHidden!
  if (training.norm) outputs["grad.norm.weight"] = dNorm!.add(input("acc.norm.weight", [C]))
  if (training.head) outputs["grad.head.weight"] = dHead!
  return outputs
}

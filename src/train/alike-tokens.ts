/**
 * Targets that a frozen head cannot tell from other tokens, because nobody ever trained their rows.
 */
import { join } from "node:path"
import type { Prepared } from "../data/index.ts"
import { sidesOf } from "../data/prepared.ts"
import { openSafetensors } from "../formats/index.ts"
import { isReadByRows, openWeights } from "../models/files/index.ts"
import { EMBEDDING, HEAD, type LoraSpec, type ModelConfig } from "../models/index.ts"
import { loadTokenizer } from "../text/index.ts"
import type { PlanWarning } from "./plan-warnings.ts"

/** Rows count as alike whose distance is this share of their length. */
const ALIKE = 0.01
const SHOWN = 3

interface Adapted {
  readonly model: ModelConfig
  readonly modelFolder: string
  readonly lora: LoraSpec
}

/**
 * Warns of an end of turn or another special token that is trained under an adapter, and whose row
 * of the head is that of other tokens too: whatever the adapter does, all of them get the same
 * logit.
 */
export async function alikeTokenWarnings(
  rows: Prepared,
  { model, modelFolder, lora }: Adapted,
): Promise<PlanWarning[]> {
  const { tieWordEmbeddings, vocabSize, hiddenSize } = model.shape
  const head = tieWordEmbeddings ? EMBEDDING : HEAD
  if (model.shape.scores || lora.saved.tensors.has(head)) return []
  const targets = await specialTargets(rows)
  if (targets.size === 0) return []
  const tokenizer = await loadTokenizer(modelFolder)
  const spare = Array.from(
    { length: Math.max(0, vocabSize - tokenizer.vocabSize) },
    (_, i) => tokenizer.vocabSize + i,
  )
  const named = [...tokenizer.addedTokens.keys()].filter((id) => id < vocabSize)
  const weights = await openWeights(modelFolder)
  try {
    if (!isReadByRows(weights, head)) return []
    const rowOf = async (id: number) => {
      const row = new Float32Array(hiddenSize)
      await weights.readRows(head, id, row)
      return row
    }
    const others = new Map<number, Float32Array>()
    for (const id of new Set([...named, ...spare])) others.set(id, await rowOf(id))
    const found: PlanWarning[] = []
    for (const id of targets) {
      const own = others.get(id) ?? (await rowOf(id))
      const alike = [...others].filter(([other, row]) => other !== id && areAlike(own, row))
      if (alike.length === 0) continue
      const text = (one: number) => JSON.stringify(tokenizer.tokenText(one))
      const texts = alike.map(([other]) => text(other))
      found.push(alikeWarning(text(id), texts, tieWordEmbeddings ? "embed_tokens" : "lm_head"))
    }
    return found
  } finally {
    await weights.close()
  }
}

function alikeWarning(token: string, others: readonly string[], module: string): PlanWarning {
  const more = others.length > SHOWN ? `, and ${others.length - SHOWN} more` : ""
  const shown = `${others.slice(0, SHOWN).join(", ")}${more}`
  return {
    code: "alike-tokens",
    message: `${token} is trained, and the model cannot tell it from ${shown}: their rows of the head are alike, and the adapter leaves the head as it is`,
    hint: `adapter.modules_to_save: [${module}] trains the head too; or train without an adapter, or end answers with a token that the model knows`,
  }
}

/** Ids of the trained tokens that end a turn or are special otherwise. */
async function specialTargets({ dir, manifest }: Prepared): Promise<ReadonlySet<number>> {
  const found = new Set<number>()
  for (const { file } of manifest.shards) {
    const reader = await openSafetensors(join(dir, file))
    try {
      for (const prefix of sidesOf(manifest.purpose)) {
        const ids = new Int32Array((await reader.read(`${prefix}token_ids`)).buffer)
        const mask = await reader.read(`${prefix}loss_mask`)
        const classes = await reader.read(`${prefix}token_class`)
        ids.forEach((id, i) => {
          if (mask[i] === 1 && classes[i] !== 0) found.add(id)
        })
      }
    } finally {
      await reader.close()
    }
  }
  return found
}

function areAlike(a: Float32Array, b: Float32Array): boolean {
  let [apart, length] = [0, 0]
  for (let i = 0; i < a.length; i++) {
    apart += (a[i]! - b[i]!) ** 2
    length += a[i]! ** 2
  }
  return apart <= ALIKE ** 2 * length
}

/** Where prepared rows meet a model: it must have every id, and positions for every row. */

import { join } from "node:path"
import type { Lint, Prepared } from "../data/index.ts"
import { sidesOf } from "../data/prepared.ts"
import { InputError } from "../errors.ts"
import { openSafetensors } from "../formats/index.ts"
import { plural } from "../plural.ts"
import { loadTokenizer } from "../text/index.ts"

/** What of a model's shape decides which rows it can take. */
interface Model {
  readonly vocabSize: number
  readonly maxPositionEmbeddings: number
}

const MAX_EXAMPLES = 5

/**
 * Looks at every id and length of prepared rows, shard by shard.
 *
 * @returns a warning when rows are longer than the model's context
 * @throws InputError naming row and token of an id that the model has no embedding for
 */
export async function modelRowLints(
  rows: Prepared,
  { vocabSize, maxPositionEmbeddings: context }: Model,
  modelFolder: string,
): Promise<Lint[]> {
  const { dir, manifest } = rows
  let firstRow = 0
  let long = 0
  let longest = 0
  const examples: string[] = []
  for (const { file, rows: count } of manifest.shards) {
    const reader = await openSafetensors(join(dir, file))
    try {
      for (const prefix of sidesOf(manifest.purpose)) {
        const ids = new Int32Array((await reader.read(`${prefix}token_ids`)).buffer)
        const offsets = new BigInt64Array((await reader.read(`${prefix}row_offsets`)).buffer)
        const foreign = ids.findIndex((id) => id < 0 || id >= vocabSize)
        if (foreign >= 0) {
          const row = firstRow + offsets.findLastIndex((offset) => Number(offset) <= foreign)
          const id = ids[foreign]!
          const { tokenText } = await loadTokenizer(modelFolder)
          throw new InputError(
            `${rows.place(row)}: token ${id} (${JSON.stringify(tokenText(id))}) has no row in the model, whose vocab_size is ${vocabSize}: ` +
              "the tokenizer knows more tokens than the model. Resize the model's embeddings to the tokenizer, or take the tokenizer that belongs to it",
          )
        }
        for (let r = 0; r < count; r++) {
          const length = Number(offsets[r + 1]! - offsets[r]!)
          if (length <= context) continue
          long++
          longest = Math.max(longest, length)
          if (examples.length < MAX_EXAMPLES) examples.push(rows.place(firstRow + r))
        }
      }
    } finally {
      await reader.close()
    }
    firstRow += count
  }
  if (long === 0) return []
  return [
    {
      code: "longer-than-context",
      severity: "warning",
      message: `${long} ${plural(long, "row is", "rows are")} longer than the model's context of ${context} tokens (max_position_embeddings; the longest has ${longest})`,
      hint: `data.max_length: ${context} cuts them there; past its context a model has learnt no positions, and generate refuses to go there`,
      count: long,
      examples,
    },
  ]
}

/** How many answers are labelled good, and how many bad. */
export async function labelCounts({ dir, manifest }: Prepared) {
  let [good, bad] = [0, 0]
  for (const { file } of manifest.shards) {
    const reader = await openSafetensors(join(dir, file))
    try {
      const values = new Float32Array((await reader.read("row_value")).buffer)
      const ones = values.reduce((sum, value) => sum + Number(value > 0), 0)
      good += ones
      bad += values.length - ones
    } finally {
      await reader.close()
    }
  }
  return { good, bad }
}

/**
 * A model's tokenizer files with tokens added to them, as `tokenizer.add_tokens` of Transformers
 * adds them.
 */
import { InputError } from "../errors.ts"
import { isObject, type JsonObject } from "../formats/json.ts"

export interface NewToken {
  readonly token: string
  /**
   * Left out of text that is shown, and of its own class in rows: `keep_special` holds its weight
   * at 1.
   */
  readonly special: boolean
}

export interface TokenizerTexts {
  /** tokenizer.json */
  readonly tokenizer: JsonObject
  /** tokenizer_config.json, where there is one. */
  readonly config: JsonObject | undefined
}

interface Vocabulary {
  readonly size: number
  readonly idOf: (piece: string) => number | undefined
}

/** Of the tokenizer's model: a dictionary, or a list of pieces with scores. */
function vocabularyOf({ model }: JsonObject): Vocabulary {
  const vocab = isObject(model) ? model.vocab : undefined
  if (Array.isArray(vocab)) {
    const ids = new Map(vocab.map(([piece], id) => [piece as string, id]))
    return { size: vocab.length, idOf: (piece) => ids.get(piece) }
  }
  const dictionary = isObject(vocab) ? vocab : {}
  return {
    size: Object.keys(dictionary).length,
    idOf: (piece) => (Object.hasOwn(dictionary, piece) ? Number(dictionary[piece]) : undefined),
  }
}

const described = (id: number, { token, special }: NewToken) => ({
  id,
  content: token,
  ...{ single_word: false, lstrip: false, rstrip: false, normalized: false, special },
})

/**
 * The files with the tokens in them, and the tokens' ids: from the end of the vocabulary on, after
 * what was added before, as the tokenizers library numbers them when it reads the file.
 *
 * @throws InputError for a token that is there already
 */
export function withNewTokens(
  { tokenizer, config }: TokenizerTexts,
  tokens: readonly NewToken[],
  where: string,
): TokenizerTexts & { readonly ids: readonly number[] } {
  const vocabulary = vocabularyOf(tokenizer)
  const added = Array.isArray(tokenizer.added_tokens) ? tokenizer.added_tokens : []
  const known = new Map(
    added.flatMap((each) => (isObject(each) ? [[each.content, Number(each.id)] as const] : [])),
  )
  for (const { token } of tokens) {
    const id = known.get(token) ?? vocabulary.idOf(token)
    if (id === undefined) continue
    throw new InputError(
      `model_tokens: ${JSON.stringify(token)} is a token of ${where} already (id ${id}); take it out. Its rows train in a full fine-tune, and under an adapter with modules_to_save: [embed_tokens, lm_head]`,
    )
  }
  const first = Math.max(vocabulary.size, ...[...known.values()].map((id) => id + 1))
  const ids = tokens.map((_, i) => first + i)
  const made = tokens.map((token, i) => described(ids[i]!, token))
  const decoder = config?.added_tokens_decoder
  const written = made.map(({ id, ...token }) => [String(id), token] as const)
  return {
    ids,
    tokenizer: { ...tokenizer, added_tokens: [...added, ...made] },
    config: isObject(decoder)
      ? { ...config, added_tokens_decoder: { ...decoder, ...Object.fromEntries(written) } }
      : config,
  }
}

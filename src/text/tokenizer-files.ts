import { InputError } from "../errors.ts"
import { type Folder, objectIn, requiredObjectIn } from "../formats/folder.ts"
import { describeValue, isObject, type JsonObject } from "../formats/json.ts"
import { checkGrowth } from "./grown-text.ts"
import type { AddedToken } from "./sections.ts"

/** The largest published tokenizer.json files are about 35 MB. */
const MAX_TOKENIZER_BYTES = 256e6
/** Ids index tables of this many entries at most; the largest vocabularies have 260,000. */
const MAX_TOKEN_ID = 4e6

export interface TokenizerFiles {
  /** The path of tokenizer.json, for messages. */
  readonly path: string
  readonly tokenizer: JsonObject
  /** tokenizer_config.json, empty when there is none. */
  readonly config: JsonObject
  readonly addedTokens: readonly AddedToken[]
}

function checkId(id: unknown, where: string): number {
  if (typeof id === "number" && Number.isInteger(id) && id >= 0 && id < MAX_TOKEN_ID) return id
  throw new InputError(
    `${where}: expected a token id of 0 to ${MAX_TOKEN_ID - 1}, got ${describeValue(id)}`,
  )
}

function addedTokenOf(value: unknown, where: string): AddedToken {
  if (!isObject(value) || typeof value.content !== "string") {
    throw new InputError(`${where}: expected an object with "id" and "content"`)
  }
  const special = value.special === true
  return {
    id: checkId(value.id, where),
    content: value.content,
    special,
    singleWord: value.single_word === true,
    lstrip: value.lstrip === true,
    rstrip: value.rstrip === true,
    normalized: typeof value.normalized === "boolean" ? value.normalized : !special,
  }
}

function checkModel(model: unknown, path: string): void {
  if (!isObject(model)) {
    throw new InputError(`${path}: expected "model" to be an object, got ${describeValue(model)}`)
  }
  const { vocab, merges } = model
  if (Array.isArray(vocab)) {
    const wrong = vocab.findIndex(
      (entry) =>
        !Array.isArray(entry) || typeof entry[0] !== "string" || typeof entry[1] !== "number",
    )
    if (wrong >= 0)
      throw new InputError(`${path}: "model.vocab"[${wrong}]: expected [piece, score]`)
  } else if (isObject(vocab)) {
    for (const [piece, id] of Object.entries(vocab)) {
      checkId(id, `${path}: "model.vocab" under ${JSON.stringify(piece)}`)
    }
  } else {
    const got = describeValue(vocab)
    throw new InputError(`${path}: expected "model.vocab" to be an object or a list, got ${got}`)
  }
  if (merges === undefined) return
  const isPair = (merge: unknown): boolean =>
    typeof merge === "string"
      ? merge.includes(" ")
      : Array.isArray(merge) && merge.length === 2 && merge.every((p) => typeof p === "string")
  if (!Array.isArray(merges)) {
    throw new InputError(
      `${path}: expected "model.merges" to be a list, got ${describeValue(merges)}`,
    )
  }
  const wrong = merges.findIndex((merge) => !isPair(merge))
  if (wrong >= 0) {
    throw new InputError(
      `${path}: "model.merges"[${wrong}]: expected two pieces, got ${describeValue(merges[wrong])}`,
    )
  }
}

/**
 * Reads tokenizer.json and tokenizer_config.json of a model folder and checks what is used of them.
 *
 * @throws InputError naming the file and the place in it.
 */
export async function readTokenizerFiles(folder: Folder): Promise<TokenizerFiles> {
  const path = folder.pathOf("tokenizer.json")
  const tokenizer = await requiredObjectIn(folder, "tokenizer.json", MAX_TOKENIZER_BYTES)
  const config = (await objectIn(folder, "tokenizer_config.json")) ?? {}
  checkModel(tokenizer.model, path)
  checkGrowth(tokenizer, path)
  const added = tokenizer.added_tokens ?? []
  if (!Array.isArray(added)) {
    throw new InputError(
      `${path}: expected "added_tokens" to be a list, got ${describeValue(added)}`,
    )
  }
  return {
    path,
    tokenizer,
    config,
    addedTokens: added.map((value, i) => addedTokenOf(value, `${path}: "added_tokens"[${i}]`)),
  }
}

/** A token named in a config: text, or an object with `content`. */
export function namedToken(value: unknown): string | null {
  if (typeof value === "string") return value
  return isObject(value) && typeof value.content === "string" ? value.content : null
}

import { assert, InputError } from "../errors.ts"
import { diskFolder } from "../formats/disk-folder.ts"
import type { GgufValue } from "../formats/gguf-metadata.ts"
import { describeValue, isObject } from "../formats/json.ts"
import { byteLevelGguf } from "./gguf-byte-level.ts"
import { sentencePieceGguf } from "./gguf-sentencepiece.ts"
import type { BpeModel } from "./gguf-vocabulary.ts"
import { chatTemplateIn } from "./model-chat-template.ts"
import { fallbackByte } from "./pieces.ts"
import { type Tokenizer, tokenizerIn } from "./tokenizer.ts"
import { readTokenizerFiles, type TokenizerFiles } from "./tokenizer-files.ts"

/** `tokenizer.ggml.token_type` (llama.h, llama_token_type). */
const TOKEN_TYPES = {
  normal: 1,
  unknown: 2,
  control: 3,
  userDefined: 4,
  unused: 5,
  byte: 6,
} as const

export interface GgufTokenizer {
  readonly metadata: ReadonlyMap<string, GgufValue>
  /** Where llama.cpp will tokenise otherwise, in words. */
  readonly notes: readonly string[]
}

export interface GgufTokenizerOptions {
  /** Rows of the embedding: tokens are padded to them. */
  readonly vocabSize: number
  /** Ids that end generation, the most usual first. */
  readonly stopTokenIds: readonly number[]
  readonly bosTokenId: number | null
  /** llama.cpp's name of a pre-tokenizer, in place of the one recognised. */
  readonly preTokenizer?: string
}

/** @throws InputError for a model that is not a plain BPE */
function bpeModel({ path, tokenizer }: TokenizerFiles): BpeModel {
  const { model } = tokenizer
  assert(isObject(model), "tokenizer.json's model was checked")
  const { type, vocab, merges, dropout } = model
  const refuse = (what: string): never => {
    throw new InputError(
      `${path}: ${what} cannot be written as GGUF; --to hf keeps the tokenizer as it is`,
    )
  }
  if (!isObject(vocab) || (type !== undefined && type !== "BPE") || !Array.isArray(merges)) {
    refuse(`a tokenizer model of type ${describeValue(type)} (expected BPE)`)
  }
  for (const key of ["continuing_subword_prefix", "end_of_word_suffix"]) {
    if (model[key]) refuse(`"model.${key}": ${describeValue(model[key])}`)
  }
  if (dropout) refuse(`"model.dropout": ${describeValue(dropout)}`)
  const pairs = (merges as (string | [string, string])[]).map((merge) => {
    if (typeof merge !== "string") return merge
    const space = merge.indexOf(" ", 1)
    return [merge.slice(0, space), merge.slice(space + 1)] as const
  })
  return {
    path,
    pieceIds: new Map(Object.entries(vocab as Record<string, number>)),
    merges: pairs,
    ignoreMerges: model.ignore_merges === true,
    unknownPiece: typeof model.unk_token === "string" ? model.unk_token : null,
  }
}

interface TokenTable {
  readonly texts: string[]
  readonly types: number[]
}

/** Every token by id, the rest of the embedding's rows named as unused. */
function tokenTable(
  files: TokenizerFiles,
  { pieceIds, unknownPiece }: BpeModel,
  { vocabSize, bytePieces }: { readonly vocabSize: number; readonly bytePieces: boolean },
): TokenTable {
  const texts: string[] = Array.from({ length: vocabSize }, (_, id) => `[PAD${id}]`)
  const types: number[] = new Array<number>(vocabSize).fill(TOKEN_TYPES.unused)
  const set = (id: number, text: string, type: number): void => {
    if (id >= vocabSize) {
      throw new InputError(
        `${files.path}: token ${id} (${JSON.stringify(text)}) has no row in the embedding of ${vocabSize}; the tokenizer may belong to another model`,
      )
    }
    texts[id] = text
    types[id] = type
  }
  for (const [piece, id] of pieceIds) {
    const byte = bytePieces && fallbackByte(piece) !== null
    set(id, piece, byte ? TOKEN_TYPES.byte : TOKEN_TYPES.normal)
  }
  for (const { id, content, special } of files.addedTokens) {
    set(id, content, special ? TOKEN_TYPES.control : TOKEN_TYPES.userDefined)
  }
  const unknown = unknownPiece === null ? undefined : pieceIds.get(unknownPiece)
  if (unknown !== undefined) types[unknown] = TOKEN_TYPES.unknown
  const ids = new Map<string, number>()
  for (const [id, text] of texts.entries()) {
    const twin = ids.get(text)
    if (twin !== undefined) {
      throw new InputError(
        `${files.path}: tokens ${twin} and ${id} are both ${JSON.stringify(text)}, which GGUF does not allow`,
      )
    }
    ids.set(text, id)
  }
  return { texts, types }
}

/** What is put before and after every text: GGUF knows BOS and EOS. */
function bosAndEos(
  tokenizer: Tokenizer,
  path: string,
): { readonly addsBos: boolean; readonly addsEos: boolean } {
  const plain = tokenizer.encode("a")
  const all = tokenizer.encode("a", { addSpecialTokens: true })
  const added = all.length - plain.length
  for (const [before, after] of [
    [0, 0],
    [1, 0],
    [0, 1],
    [1, 1],
  ] as const) {
    const fits =
      before + after === added &&
      plain.every((id, i) => id === all[before + i]) &&
      (before === 0 || all[0] === tokenizer.bosTokenId) &&
      (after === 0 || all.at(-1) === tokenizer.eosTokenId)
    if (fits) return { addsBos: before === 1, addsEos: after === 1 }
  }
  throw new InputError(
    `${path}: it puts other tokens around a text than BOS and EOS ([${all.join(", ")}] for "a"), which GGUF cannot say`,
  )
}

/** Settings of an added token that llama.cpp passes over. */
function addedTokenNotes({ addedTokens }: TokenizerFiles): string[] {
  const odd = addedTokens.filter(({ lstrip, rstrip, singleWord }) => lstrip || rstrip || singleWord)
  if (odd.length === 0) return []
  const names = odd.slice(0, 3).map(({ content }) => JSON.stringify(content))
  const more = odd.length > 3 ? ` and ${odd.length - 3} more` : ""
  return [
    `llama.cpp does not know lstrip, rstrip and single_word of ${names.join(", ")}${more}: white space beside them is kept`,
  ]
}

/**
 * llama.cpp stops at these wherever it finds them, and knows which of them end a turn
 * (llama-vocab.cpp).
 */
const KNOWN_ENDS: ReadonlySet<string> = new Set([
  "<|im_end|>",
  "<|eot_id|>",
  "<|eom_id|>",
  "<|end|>",
  "<end_of_turn>",
  "<|endoftext|>",
  "<|end_of_text|>",
])

/**
 * The special ids: one that ends a text, and two more for what llama.cpp does not know by itself.
 */
function specialIds(
  tokenizer: Tokenizer,
  { stopTokenIds, bosTokenId }: GgufTokenizerOptions,
  path: string,
): { readonly ids: [string, GgufValue][]; readonly notes: string[] } {
  const { eosTokenId, padTokenId } = tokenizer
  const stops = [...new Set([...(eosTokenId === null ? [] : [eosTokenId]), ...stopTokenIds])]
  if (stops.length === 0) {
    throw new InputError(
      `${path}: no token ends a text: GGUF needs one, name it "eos_token" in tokenizer_config.json or "eos_token_id" in config.json`,
    )
  }
  const [eos, ...others] = stops
  const unknown = others.filter((id) => !KNOWN_ENDS.has(tokenizer.tokenText(id)))
  const named: [string, number | null | undefined][] = [
    ["bos", tokenizer.bosTokenId ?? bosTokenId],
    ["eos", eos],
    ["eot", unknown[0]],
    ["eom", unknown[1]],
    ["padding", padTokenId],
  ]
  const ids = named.flatMap(([name, id]): [string, GgufValue][] =>
    id === null || id === undefined
      ? []
      : [[`tokenizer.ggml.${name}_token_id`, { kind: "uint32", value: id }]],
  )
  const rest = unknown.slice(2).map((id) => `${id} (${tokenizer.tokenText(id)})`)
  const notes =
    rest.length === 0
      ? []
      : [`GGUF has room for three ids that end a text; left out: ${rest.join(", ")}`]
  return { ids, notes }
}

/**
 * A model folder's tokenizer and chat template as a GGUF file's metadata.
 *
 * @throws InputError naming what llama.cpp has no equal of
 */
export async function ggufTokenizer(
  folder: string,
  options: GgufTokenizerOptions,
): Promise<GgufTokenizer> {
  const place = diskFolder(folder)
  const files = await readTokenizerFiles(place)
  const tokenizer = await tokenizerIn(place)
  const model = bpeModel(files)
  const isSentencePiece =
    isObject(files.tokenizer.model) && files.tokenizer.model.byte_fallback === true
  const vocabulary = isSentencePiece
    ? sentencePieceGguf(files, model)
    : byteLevelGguf(files, model, options.preTokenizer)
  const { texts, types } = tokenTable(files, model, { ...options, ...vocabulary })
  const { addsBos, addsEos } = bosAndEos(tokenizer, files.path)
  const special = specialIds(tokenizer, options, files.path)
  const template = await chatTemplateIn(place)
  const metadata = new Map<string, GgufValue>([
    ...vocabulary.metadata,
    ["tokenizer.ggml.tokens", { kind: "array", of: "string", value: texts }],
    ["tokenizer.ggml.token_type", { kind: "array", of: "int32", value: types }],
    ...special.ids,
    ["tokenizer.ggml.add_bos_token", { kind: "bool", value: addsBos }],
    ["tokenizer.ggml.add_eos_token", { kind: "bool", value: addsEos }],
  ])
  const { scoreOf } = vocabulary
  if (scoreOf !== undefined) {
    const value = texts.map(scoreOf)
    metadata.set("tokenizer.ggml.scores", { kind: "array", of: "float32", value })
  }
  if (template !== null) {
    metadata.set("tokenizer.chat_template", { kind: "string", value: template.source })
  }
  return { metadata, notes: [...vocabulary.notes, ...addedTokenNotes(files), ...special.notes] }
}

import { InputError } from "../errors.ts"
import type { GgufMetadata } from "../formats/gguf-metadata.ts"
import { preTokenizerJson } from "./gguf-byte-level.ts"

const NORMAL = 1
const UNKNOWN = 2
const CONTROL = 3
const USER_DEFINED = 4
const UNUSED = 5
const SPACE = "▁"

/** A tokenizer's files by name, as a model folder has them. */
export type TokenizerTexts = ReadonlyMap<string, string>

interface Vocabulary {
  readonly where: string
  readonly tokens: readonly string[]
  readonly types: readonly number[]
}

function list(metadata: GgufMetadata, key: string): readonly unknown[] | undefined {
  const value = metadata.get(`tokenizer.ggml.${key}`)?.value
  return Array.isArray(value) ? value : undefined
}

function single<T>(metadata: GgufMetadata, key: string, type: string): T | undefined {
  const value = metadata.get(`tokenizer.ggml.${key}`)?.value
  return typeof value === type ? (value as T) : undefined
}

/** The text of the token that metadata names by its id. */
function named({ tokens, where }: Vocabulary, metadata: GgufMetadata, key: string) {
  const id = single<number>(metadata, `${key}_token_id`, "number")
  if (id === undefined) return undefined
  const text = tokens[id]
  if (text !== undefined) return { id, text }
  throw new InputError(
    `${where}: expected "tokenizer.ggml.${key}_token_id" below ${tokens.length}, got ${id}`,
  )
}

/** Byte-level merges are two pieces with a space between; pieces have none. */
function writtenMerges(metadata: GgufMetadata, where: string): string[][] {
  const merges = list(metadata, "merges")
  if (merges === undefined) {
    throw new InputError(`${where}: expected "tokenizer.ggml.merges" of a gpt2 tokenizer`)
  }
  return merges.map((merge) => {
    const pair = String(merge).split(" ")
    if (pair.length === 2 && pair.every((piece) => piece !== "")) return pair
    throw new InputError(
      `${where}: expected a merge to be two pieces, got ${JSON.stringify(String(merge).slice(0, 80))}`,
    )
  })
}

/**
 * Above this, a piece's cuts are too many to look at; the longest of published vocabularies has 64.
 */
const LONGEST_PIECE = 256

/**
 * What joins to a piece of the vocabulary may be joined, the piece of the highest score first: how
 * SentencePiece's BPE goes, told as merges.
 */
function mergesOfScores({ tokens, types }: Vocabulary, scores: readonly number[]): string[][] {
  const isPiece = (id: number) => types[id] === NORMAL || types[id] === USER_DEFINED
  const pieces = new Set(tokens.filter((_, id) => isPiece(id)))
  const order = tokens.map((_, id) => id).filter(isPiece)
  order.sort((a, b) => scores[b]! - scores[a]! || a - b)
  return order.flatMap((id) => {
    const piece = tokens[id]!
    const merges: string[][] = []
    if (piece.length > LONGEST_PIECE) return merges
    let cut = 0
    for (const character of piece) {
      cut += character.length
      const [left, right] = [piece.slice(0, cut), piece.slice(cut)]
      if (right !== "" && pieces.has(left) && pieces.has(right)) merges.push([left, right])
    }
    return merges
  })
}

const spaceParts = (hasPrefix: boolean) => ({
  normalizer: {
    type: "Sequence",
    normalizers: [
      ...(hasPrefix ? [{ type: "Prepend", prepend: SPACE }] : []),
      { type: "Replace", pattern: { String: " " }, content: SPACE },
    ],
  },
  pre_tokenizer: null,
  decoder: {
    type: "Sequence",
    decoders: [
      { type: "Replace", pattern: { String: SPACE }, content: " " },
      { type: "ByteFallback" },
      { type: "Fuse" },
      ...(hasPrefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
    ],
  },
})

/** The steps around the vocabulary, and the merges in it. */
function parts(vocabulary: Vocabulary, metadata: GgufMetadata) {
  const { where, tokens } = vocabulary
  const kind = single<string>(metadata, "model", "string")
  if (kind === "gpt2") {
    const name = single<string>(metadata, "pre", "string") ?? "default"
    const { steps, ignoresMerges, normalizer } = preTokenizerJson(name, where)
    return {
      steps: {
        normalizer,
        pre_tokenizer: steps,
        decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
      },
      model: { byte_fallback: false, ignore_merges: ignoresMerges, fuse_unk: false },
      merges: writtenMerges(metadata, where),
      bosByDefault: name === "llama-bpe",
    }
  }
  if (kind !== "llama") {
    throw new InputError(
      `${where}: expected "tokenizer.ggml.model" to be gpt2 or llama, got ${kind}; give the model's Hugging Face folder`,
    )
  }
  const scores = list(metadata, "scores")
  if (scores?.length !== tokens.length || !scores.every((x) => typeof x === "number")) {
    throw new InputError(
      `${where}: expected "tokenizer.ggml.scores" of all ${tokens.length} tokens`,
    )
  }
  return {
    steps: spaceParts(single<boolean>(metadata, "add_space_prefix", "boolean") ?? true),
    model: { byte_fallback: true, ignore_merges: false, fuse_unk: true },
    merges: mergesOfScores(vocabulary, scores as number[]),
    bosByDefault: true,
  }
}

/** Every text begins with BOS. */
const bosFirst = (bos: { readonly id: number; readonly text: string }) => ({
  type: "TemplateProcessing",
  single: [{ SpecialToken: { id: bos.text, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
  pair: [
    { SpecialToken: { id: bos.text, type_id: 0 } },
    { Sequence: { id: "A", type_id: 0 } },
    { SpecialToken: { id: bos.text, type_id: 1 } },
    { Sequence: { id: "B", type_id: 1 } },
  ],
  special_tokens: { [bos.text]: { id: bos.text, ids: [bos.id], tokens: [bos.text] } },
})

function vocabularyOf(metadata: GgufMetadata, where: string): Vocabulary {
  const tokens = list(metadata, "tokens")
  if (!tokens?.every((token) => typeof token === "string")) {
    throw new InputError(`${where}: expected "tokenizer.ggml.tokens", a list of texts`)
  }
  const types = list(metadata, "token_type") ?? tokens.map(() => NORMAL)
  if (types.length !== tokens.length) {
    throw new InputError(
      `${where}: expected "tokenizer.ggml.token_type" of ${tokens.length} tokens, got ${types.length}`,
    )
  }
  return { where, tokens: tokens as string[], types: types as number[] }
}

/**
 * A GGUF file's tokenizer and chat template as the files of a model folder.
 *
 * @throws InputError naming the metadata that is missing or not known
 */
export function tokenizerOfGguf(metadata: GgufMetadata, where: string): TokenizerTexts {
  const vocabulary = vocabularyOf(metadata, where)
  const { tokens, types } = vocabulary
  const { steps, model, merges, bosByDefault } = parts(vocabulary, metadata)
  const names = ["bos", "eos", "unknown", "padding"] as const
  const [bos, eos, unknown, pad] = names.map((key) => named(vocabulary, metadata, key))
  const addsBos = single<boolean>(metadata, "add_bos_token", "boolean") ?? bosByDefault
  if (single<boolean>(metadata, "add_eos_token", "boolean") === true) {
    throw new InputError(
      `${where}: "tokenizer.ggml.add_eos_token" is true: texts that end by themselves cannot be trained`,
    )
  }
  const isAdded = (id: number) => [UNKNOWN, CONTROL, USER_DEFINED].includes(types[id]!)
  const added = tokens.flatMap((content, id) =>
    isAdded(id)
      ? [
          {
            id,
            content,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: types[id] !== USER_DEFINED,
          },
        ]
      : [],
  )
  const vocab = Object.fromEntries(
    tokens.map((token, id) => [token, id] as const).filter(([, id]) => types[id] !== UNUSED),
  )
  const tokenizer = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: added,
    ...steps,
    post_processor: addsBos && bos ? bosFirst(bos) : null,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: unknown?.text ?? null,
      ...model,
      vocab,
      merges,
    },
  }
  const config = {
    tokenizer_class: "PreTrainedTokenizerFast",
    add_bos_token: addsBos,
    ...(bos ? { bos_token: bos.text } : {}),
    ...(eos ? { eos_token: eos.text } : {}),
    ...(unknown ? { unk_token: unknown.text } : {}),
    ...(pad ? { pad_token: pad.text } : {}),
  }
  const stops = [eos, named(vocabulary, metadata, "eot"), named(vocabulary, metadata, "eom")]
  const ids = [...new Set(stops.flatMap((stop) => (stop ? [stop.id] : [])))]
  const generation = {
    ...(bos ? { bos_token_id: bos.id } : {}),
    ...(ids.length > 0 ? { eos_token_id: ids } : {}),
  }
  const template = metadata.get("tokenizer.chat_template")?.value
  return new Map([
    ["tokenizer.json", JSON.stringify(tokenizer)],
    ["tokenizer_config.json", JSON.stringify(config)],
    ["generation_config.json", JSON.stringify(generation)],
    ...(typeof template === "string" ? [["chat_template.jinja", template] as const] : []),
  ])
}

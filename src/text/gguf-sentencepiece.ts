import { InputError } from "../errors.ts"
import { describeValue, isObject, type JsonObject } from "../formats/json.ts"
import type { BpeModel, GgufVocabulary } from "./gguf-vocabulary.ts"
import { fallbackByte } from "./pieces.ts"
import type { TokenizerFiles } from "./tokenizer-files.ts"

type Prefix = "always" | "first" | "never"

const SPACE = "▁"
/** Four times Llama 2's longest piece of one character. */
const LONGEST_RUN = 64

/** The steps of a normaliser, a Sequence laid flat. */
function steps(config: unknown): JsonObject[] {
  if (!isObject(config)) return []
  return config.type === "Sequence" && Array.isArray(config.normalizers)
    ? config.normalizers.flatMap(steps)
    : [config]
}

/** Where a space is put before the text. null: it does something else than SentencePiece. */
function spacePrefix({ tokenizer }: TokenizerFiles): Prefix | null {
  const normalizers = steps(tokenizer.normalizer)
  const pre = tokenizer.pre_tokenizer
  // Gemma's splits at spaces, of which its normaliser leaves none.
  const cutsNothing =
    isObject(pre) && pre.type === "Split" && isObject(pre.pattern) && pre.pattern.String === " "
  if (isObject(pre) && !cutsNothing) {
    const metaspace =
      pre.type === "Metaspace" &&
      pre.replacement === SPACE &&
      pre.split === false &&
      normalizers.length === 0
    const scheme = pre.prepend_scheme ?? "always"
    return metaspace && (scheme === "always" || scheme === "first" || scheme === "never")
      ? scheme
      : null
  }
  const replaces = normalizers.at(-1)
  const spaces =
    replaces?.type === "Replace" &&
    replaces.content === SPACE &&
    isObject(replaces.pattern) &&
    replaces.pattern.String === " "
  if (!spaces || normalizers.length > 2) return null
  if (normalizers.length === 1) return "never"
  const [first] = normalizers
  return first?.type === "Prepend" && first.prepend === SPACE ? "always" : null
}

/** How a row of n equal pieces is joined when the pair with the least `order` goes first. */
function joinedRun(
  character: string,
  n: number,
  order: (left: string, right: string) => number | undefined,
): string[] {
  const pieces = Array.from({ length: n }, () => character)
  for (;;) {
    let first = -1
    let least = Number.POSITIVE_INFINITY
    for (let i = 0; i + 1 < pieces.length; i++) {
      const at = order(pieces[i]!, pieces[i + 1]!) ?? Number.POSITIVE_INFINITY
      if (at < least) [least, first] = [at, i]
    }
    if (first < 0) return pieces
    pieces.splice(first, 2, pieces[first]! + pieces[first + 1]!)
  }
}

const isRun = (piece: string): boolean =>
  [...piece].every((character) => piece.startsWith(character))

type Merge = readonly [left: string, right: string]
const pair = (left: string, right: string): string => `${left} ${right}`

/** Every pair of pieces that joins to a piece must be a merge: llama.cpp joins them all. */
function missingMerge(
  { pieceIds }: BpeModel,
  ranks: ReadonlyMap<string, number>,
): Merge | undefined {
  for (const piece of pieceIds.keys()) {
    if (fallbackByte(piece) !== null) continue
    for (let cut = 1; cut < piece.length; cut++) {
      const [left, right] = [piece.slice(0, cut), piece.slice(cut)]
      const joins = pieceIds.has(left) && pieceIds.has(right)
      if (joins && !ranks.has(pair(left, right))) return [left, right]
    }
  }
  return undefined
}

/** The shortest run of a character that is joined otherwise by score than by merge. */
function differingRun(
  character: string,
  ranks: ReadonlyMap<string, number>,
  scores: ReadonlyMap<string, number>,
): number | undefined {
  const byRank = (left: string, right: string) => ranks.get(pair(left, right))
  const byScore = (left: string, right: string) => {
    const score = scores.get(left + right)
    return score === undefined ? undefined : -score
  }
  for (let n = 2; n <= LONGEST_RUN; n++) {
    const merged = joinedRun(character, n, byRank).join(" ")
    if (merged !== joinedRun(character, n, byScore).join(" ")) return n
  }
  return undefined
}

/**
 * llama.cpp joins the two neighbours whose joined piece has the highest score, and knows nothing of
 * merges. The same tokens come out when a piece's score is minus the rank of its first merge: for
 * that, all merges into one piece must stand together, and every pair that joins to a piece must be
 * one. (In Llama 2's, merges into runs of spaces are scattered; for runs both ways are computed.)
 *
 * @returns the score of each piece that a merge makes
 * @throws InputError naming the first merge that is otherwise
 */
function pieceScores(model: BpeModel): Map<string, number> {
  const refuse = ([left, right]: Merge, problem: string): never => {
    throw new InputError(
      `${model.path}: the merge of ${JSON.stringify(left)} and ${JSON.stringify(right)} ${problem}; llama.cpp orders pieces by score alone and would tokenise otherwise`,
    )
  }
  const scores = new Map<string, number>()
  const ranks = new Map<string, number>()
  const scattered = new Map<string, Merge>()
  let last = ""
  for (const [rank, merge] of model.merges.entries()) {
    const [left, right] = merge
    const piece = left + right
    ranks.set(pair(left, right), rank)
    if (piece !== last && scores.has(piece)) {
      if (!isRun(piece)) refuse(merge, "stands apart from others into the same piece")
      scattered.set(piece[0]!, merge)
    } else if (piece !== last) {
      scores.set(piece, -rank)
    }
    last = piece
  }
  const missing = missingMerge(model, ranks)
  if (missing !== undefined) refuse(missing, "is missing")
  for (const [character, merge] of scattered) {
    const n = differingRun(character, ranks, scores)
    if (n !== undefined) {
      refuse(merge, `joins ${n} in a row in another order than others into the same piece`)
    }
  }
  return scores
}

/**
 * A BPE vocabulary with byte fallback (SentencePiece's kind: Llama 2, Mistral) as llama.cpp's
 * `llama`.
 *
 * @throws InputError for what that tokenizer does not do
 */
export function sentencePieceGguf(files: TokenizerFiles, model: BpeModel): GgufVocabulary {
  const prefix = spacePrefix(files)
  if (prefix === null) {
    const { normalizer, pre_tokenizer } = files.tokenizer
    const got = [normalizer, pre_tokenizer].map((part) =>
      JSON.stringify(part ?? null).slice(0, 120),
    )
    throw new InputError(
      `${files.path}: expected SentencePiece's handling of spaces (${SPACE} for a space, perhaps one put before the text), got the normaliser ${got[0]} and the pre-tokenizer ${got[1]}; --to hf keeps the tokenizer as it is`,
    )
  }
  const bytes = new Set([...model.pieceIds.keys()].map(fallbackByte))
  bytes.delete(null)
  if (bytes.size !== 256) {
    throw new InputError(
      `${files.path}: expected a token for each of the 256 bytes (<0x00> to <0xFF>), got ${describeValue(bytes.size)}`,
    )
  }
  const scores = pieceScores(model)
  const unknown = model.unknownPiece === null ? undefined : model.pieceIds.get(model.unknownPiece)
  return {
    bytePieces: true,
    notes:
      prefix === "first"
        ? [
            "llama.cpp puts a space before the text after every special token, this tokenizer only at the start",
          ]
        : [],
    metadata: [
      ["tokenizer.ggml.model", { kind: "string", value: "llama" }],
      ["tokenizer.ggml.pre", { kind: "string", value: "default" }],
      ["tokenizer.ggml.add_space_prefix", { kind: "bool", value: prefix !== "never" }],
      ...(unknown === undefined
        ? []
        : [["tokenizer.ggml.unknown_token_id", { kind: "uint32", value: unknown }] as const]),
    ],
    scoreOf: (piece) => scores.get(piece) ?? 0,
  }
}

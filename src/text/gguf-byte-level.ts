import { InputError } from "../errors.ts"
import { describeValue, isObject } from "../formats/json.ts"
import type { BpeModel, GgufVocabulary } from "./gguf-vocabulary.ts"
import type { TokenizerFiles } from "./tokenizer-files.ts"

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
const PUNCTUATION_AND_SPACE = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const words = (digits: string): string =>
  `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}|${PUNCTUATION_AND_SPACE}`

interface PreTokenizer {
  /** `tokenizer.ggml.pre`. */
  readonly name: string
  /** The steps of tokenizer.json that it computes. */
  readonly steps: readonly string[]
  /** Whether a word that is a token is one token, whatever the merges say. */
  readonly ignoresMerges: boolean
}

/** llama.cpp has its pre-tokenizers compiled in, by name. Those that are held to our vectors. */
const PRE_TOKENIZERS: readonly PreTokenizer[] = [
  { name: "llama-bpe", steps: [`split ${words("\\p{N}{1,3}")}`, "bytes"], ignoresMerges: true },
  { name: "smaug-bpe", steps: [`split ${words("\\p{N}{1,3}")}`, "bytes"], ignoresMerges: false },
  { name: "qwen2", steps: [`split ${words("\\p{N}")}`, "bytes"], ignoresMerges: false },
  { name: "gpt-2", steps: ["words and bytes"], ignoresMerges: false },
  { name: "smollm", steps: ["digits", "words and bytes"], ignoresMerges: false },
]

/** One step of a pre-tokenizer in words; one that llama.cpp cannot do is its JSON. */
function stepsOf(config: unknown): string[] {
  if (!isObject(config)) return []
  const { type, pretokenizers, pattern, behavior, invert } = config
  if (type === "Sequence" && Array.isArray(pretokenizers)) return pretokenizers.flatMap(stepsOf)
  if (type === "ByteLevel" && config.add_prefix_space === false) {
    return [config.use_regex === false ? "bytes" : "words and bytes"]
  }
  if (type === "Digits" && config.individual_digits === true) return ["digits"]
  const isolated = type === "Split" && behavior === "Isolated" && invert !== true
  if (isolated && isObject(pattern) && typeof pattern.Regex === "string") {
    return [`split ${pattern.Regex}`]
  }
  return [JSON.stringify(config)]
}

function recognised(files: TokenizerFiles, { ignoreMerges }: BpeModel): string {
  const steps = stepsOf(files.tokenizer.pre_tokenizer)
  const found = PRE_TOKENIZERS.find(
    (known) => known.ignoresMerges === ignoreMerges && known.steps.join("\n") === steps.join("\n"),
  )
  if (found !== undefined) return found.name
  const names = PRE_TOKENIZERS.map(({ name }) => name).join(", ")
  throw new InputError(
    `${files.path}: its pre-tokenizer (${steps.join(", then ") || "none"}) is none of those that are ` +
      `known to be llama.cpp's (${names}). If llama.cpp has an equal one, name it with --pre; --to hf keeps the tokenizer as it is`,
  )
}

/**
 * A byte-level BPE vocabulary (GPT-2's kind: Qwen, Llama 3) as llama.cpp's `gpt2`.
 *
 * @param chosen a pre-tokenizer named by the user
 * @throws InputError for a normaliser or pre-tokenizer that llama.cpp does not have
 */
export function byteLevelGguf(
  files: TokenizerFiles,
  model: BpeModel,
  chosen: string | undefined,
): GgufVocabulary {
  const { normalizer } = files.tokenizer
  const composes = isObject(normalizer) && normalizer.type === "NFC"
  if (isObject(normalizer) && !composes) {
    throw new InputError(
      `${files.path}: its normaliser (${describeValue(normalizer.type)}) is not in llama.cpp; --to hf keeps the tokenizer as it is`,
    )
  }
  const merges = model.merges.map(([left, right]) => {
    if (left.includes(" ") || right.includes(" ")) {
      throw new InputError(
        `${files.path}: a merge holds a space (${JSON.stringify([left, right])}), which GGUF cannot write`,
      )
    }
    return `${left} ${right}`
  })
  const pre = chosen ?? recognised(files, model)
  const notes = [
    ...(composes
      ? [
          "llama.cpp does not compose characters (NFC): text with separate accents becomes other tokens",
        ]
      : []),
    ...(chosen === undefined
      ? []
      : [
          `the pre-tokenizer is said to be ${chosen}; whether it cuts text as this tokenizer does was not checked`,
        ]),
  ]
  return {
    bytePieces: false,
    notes,
    metadata: [
      ["tokenizer.ggml.model", { kind: "string", value: "gpt2" }],
      ["tokenizer.ggml.pre", { kind: "string", value: pre }],
      ["tokenizer.ggml.merges", { kind: "array", of: "string", value: merges }],
    ],
  }
}

/** One step of {@link PRE_TOKENIZERS} as tokenizer.json has it. */
function stepJson(step: string): Readonly<Record<string, unknown>> {
  if (step === "digits") return { type: "Digits", individual_digits: true }
  const isBytes = step === "bytes" || step === "words and bytes"
  return isBytes
    ? {
        type: "ByteLevel",
        add_prefix_space: false,
        trim_offsets: true,
        use_regex: step !== "bytes",
      }
    : {
        type: "Split",
        pattern: { Regex: step.slice("split ".length) },
        behavior: "Isolated",
        invert: false,
      }
}

/**
 * llama.cpp's pre-tokenizer of this name in tokenizer.json's words.
 *
 * @throws InputError for one that is not known
 */
export function preTokenizerJson(name: string, where: string) {
  const found = PRE_TOKENIZERS.find((known) => known.name === name)
  if (found === undefined) {
    const names = PRE_TOKENIZERS.map((known) => known.name).join(", ")
    throw new InputError(
      `${where}: expected "tokenizer.ggml.pre" to be one of ${names}, got ${name}; give the model's Hugging Face folder`,
    )
  }
  return {
    steps: { type: "Sequence", pretokenizers: found.steps.map(stepJson) },
    ignoresMerges: found.ignoresMerges,
    // Qwen's own tokenizer composes characters; GGUF has no word for it.
    normalizer: name === "qwen2" ? { type: "NFC" } : null,
  }
}

import { InputError } from "../../errors.ts"
import { isObject } from "./config-keys.ts"

/**
 * A model of a type that only `engine: torch` trains, through Transformers: what its config.json
 * says that matters before a weight is read.
 */
export interface ForeignModel {
  readonly isForeign: true
  readonly modelType: string
  readonly shape: {
    readonly vocabSize: number
    /** Infinity where the model has no positions (recurrent ones). */
    readonly maxPositionEmbeddings: number
    readonly numHiddenLayers: number
  }
}

/** The names that families have for the same, the usual one first. */
const POSITIONS = ["max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"]
const LAYERS = ["num_hidden_layers", "n_layer", "n_layers", "num_layers"]
const VOCABULARY = ["vocab_size"]

/**
 * Understands as much of a parsed config.json as rows need. Whether Transformers knows the type,
 * and whether tensors fit, is the worker's to say.
 *
 * @param where the file's name, for errors
 * @throws InputError for code of the folder's own, quantised weights, and what is missing
 */
export function foreignModel(json: unknown, where: string): ForeignModel {
  if (!isObject(json)) throw new InputError(`${where}: expected a JSON object`)
  const modelType = json.model_type
  if (typeof modelType !== "string") {
    throw new InputError(`${where}: expected "model_type" to be a name, got ${said(modelType)}`)
  }
  if (json.auto_map !== undefined && json.auto_map !== null) {
    throw new InputError(
      `${where}: "auto_map" asks for code from the model folder, which is never run; take a model whose type Transformers itself has`,
    )
  }
  if (isObject(json.quantization_config)) {
    throw new InputError(
      `${where}: the checkpoint is quantised ("quantization_config"), which engine torch does not train; take the unquantised one`,
    )
  }
  const parts = [json, json.text_config, json.llm_config].filter(isObject)
  const seeing = parts.find(({ is_causal: causal = true }) => causal !== true)
  if (seeing) {
    throw new InputError(
      `${where}: expected "is_causal" to be true or left out, got ${JSON.stringify(seeing.is_causal)}: the model's tokens see those after them, and would be trained on what they are to predict`,
    )
  }
  const number = (names: readonly string[]): number | undefined =>
    names
      .flatMap((name) => parts.map((part) => part[name]))
      .find((value): value is number => Number.isSafeInteger(value) && Number(value) > 0)
  const vocabSize = number(VOCABULARY)
  if (vocabSize === undefined) {
    throw new InputError(`${where}: expected "vocab_size" to be a whole number above 0`)
  }
  return {
    isForeign: true,
    modelType,
    shape: {
      vocabSize,
      maxPositionEmbeddings: number(POSITIONS) ?? Number.POSITIVE_INFINITY,
      numHiddenLayers: number(LAYERS) ?? 0,
    },
  }
}

const said = (value: unknown) =>
  value === undefined ? "nothing" : JSON.stringify(value).slice(0, 80)

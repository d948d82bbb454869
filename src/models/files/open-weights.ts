import { InputError } from "../../errors.ts"
import { type Folder, requiredObjectIn, textIn } from "../../formats/folder.ts"
import type { TensorReader } from "../../formats/safetensors.ts"
import { openCheckpointIn } from "../../formats/tensor-folder-reader.ts"
import { type QuantizedMatrix, type QuantizeOptions, quantizeMatrix } from "../adapters/quantize.ts"
import {
  decoderParameters,
  EMBEDDING,
  elementCount,
  HEAD,
  layerTensor,
  linearWeights,
  SCORE,
} from "../block/parameters.ts"
import { type ForeignModel, foreignModel } from "../families/foreign-model.ts"
import { type CheckpointDtype, type ModelConfig, modelConfig } from "../families/model-config.ts"
import { asRewardModel } from "../families/reward-model.ts"
import type { DecoderShape, Parameter } from "../families/shape.ts"
import { isModelType } from "../families/table.ts"
import { checkLayers, checkTensors } from "./checkpoint-tensors.ts"
import { dequantized } from "./quantized-checkpoint.ts"

/** A decoder's weights by the checkpoint's own names, float32, linear weights [out, in]. */
export type Weights = Map<string, Float32Array>

export interface LoadedModel {
  readonly config: ModelConfig
  readonly weights: Weights
  /** What the tensors were stored in (the config may say otherwise); float32 where they differ. */
  readonly dtype: CheckpointDtype
}

export interface LoadOptions {
  readonly signal?: AbortSignal
  /** Makes the memory of a tensor, for example shared with a worker. Default: ordinary memory. */
  readonly allocate?: (elements: number) => Float32Array
  /** Called after each tensor. */
  readonly onProgress?: (tensorsRead: number, tensorsInAll: number) => void
  /** Tensors of a frozen base that train all the same: they stay float32 arrays. */
  readonly whole?: ReadonlySet<string>
}

/** What a folder is opened as. */
export interface ModelKind {
  /**
   * A reward model: what is one already, or a language model whose score is new. Left out: a
   * language model.
   */
  readonly scores?: boolean
}

/** @throws InputError, also for a reward model where a language model is expected */
export async function modelConfigIn(
  folder: Folder,
  { scores = false }: ModelKind = {},
): Promise<ModelConfig> {
  const config = await writtenConfigIn(folder)
  const where = folder.pathOf("config.json")
  return scores ? asScores(config, where) : withOwnHead(folder, asLanguageModel(config, where))
}

/** As config.json has it: no tensor is looked at. */
async function writtenConfigIn(folder: Folder): Promise<ModelConfig> {
  const names = await folder.names()
  if (!names.includes("config.json") && names.includes("adapter_config.json")) {
    throw new InputError(
      `${folder.path}: is an adapter (adapter_config.json without config.json), where a whole model ` +
        "is expected: name its base, or fold it in first (dftune export --to merged)",
    )
  }
  if (!names.includes("config.json")) {
    throw new InputError(
      `${folder.path}: expected a model in Hugging Face's layout, got a folder without config.json; it holds ${namesText(names)}`,
    )
  }
  const json = await requiredObjectIn(folder, "config.json")
  const text = await textIn(folder, "config.json")
  const config = modelConfig(json, folder.pathOf("config.json"))
  return { ...config, ...(text ? { text } : {}) }
}

const MAX_NAMES = 6

function namesText(names: readonly string[]): string {
  if (names.length === 0) return "nothing"
  return `${names.slice(0, MAX_NAMES).join(", ")}${names.length > MAX_NAMES ? ", ..." : ""}`
}

const asScores = (config: ModelConfig, where: string) =>
  config.shape.scores ? config : asRewardModel(config, where)

/** @throws InputError for a reward model */
function asLanguageModel(config: ModelConfig, where: string): ModelConfig {
  if (!config.shape.scores) return config
  throw new InputError(
    `${where}: is a reward model: it scores texts and predicts no token. Train it on with objective: reward, measure it with eval --data pairs.jsonl, or let it reward samples (rollout.rewards: [{ model: FOLDER }])`,
  )
}

/** A model as its config and the headers of its files tell it: no weight has been read. */
export interface ModelHeaders {
  readonly config: ModelConfig
  /** Of the tensors, as they are stored. */
  readonly storedBytes: number
  /**
   * The config ties the head to the embedding, and the files hold a head of the same shape beside
   * it. Whether it is another one only the weights tell; `config` has them tied.
   */
  readonly hasHeadBeside: boolean
}

/**
 * Opens the headers of a Hugging Face folder and checks them against its config.
 *
 * @throws InputError as {@link openWeightsIn}
 */
export async function modelHeadersIn(folder: Folder): Promise<ModelHeaders> {
  const config = asLanguageModel(await writtenConfigIn(folder), folder.pathOf("config.json"))
  const reader = await openCheckpointIn(folder)
  try {
    const { parameters } = checkedTensors(reader, config, folder.path)
    const embedding = parameters.find(({ name }) => name === EMBEDDING)!
    const head = config.shape.tieWordEmbeddings ? reader.tensors.get(HEAD) : undefined
    const bytes = [...reader.tensors.values()].map(({ begin, end }) => end - begin)
    return {
      config,
      storedBytes: bytes.reduce((sum, each) => sum + each, 0),
      hasHeadBeside: head !== undefined && head.shape.join() === embedding.shape.join(),
    }
  } finally {
    await reader.close()
  }
}

/**
 * The config of a folder that Transformers opens: understood whole where the local engine has the
 * family and all that the config asks of it, else as far as rows need it.
 *
 * @throws InputError for what neither can train
 */
export async function anyModelConfigIn(
  folder: Folder,
  kind: ModelKind = {},
): Promise<ModelConfig | ForeignModel> {
  const names = await folder.names()
  if (!names.includes("config.json")) return modelConfigIn(folder, kind) // says what is there
  const json = await requiredObjectIn(folder, "config.json")
  if (!isModelType(json.model_type)) return foreignModel(json, folder.pathOf("config.json"))
  try {
    return await modelConfigIn(folder, kind)
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    // What the local engine has not of a family, Transformers may have: the worker tries it.
    return foreignModel(json, folder.pathOf("config.json"))
  }
}

/**
 * A config that ties the head beside a checkpoint that holds another one: the checkpoint's counts,
 * as in Transformers 5, and the config that is written again says so (Transformers 4 would tie
 * them).
 */
async function withOwnHead(folder: Folder, config: ModelConfig): Promise<ModelConfig> {
  if (!config.shape.tieWordEmbeddings) return config
  const names = await folder.names()
  if (!names.some((name) => /^model\b.*\.safetensors$/.test(name))) return config
  const reader = await openCheckpointIn(folder)
  try {
    if (!reader.tensors.has(HEAD) || (await isSameMatrix(reader, HEAD, EMBEDDING))) return config
  } finally {
    await reader.close()
  }
  return {
    ...config,
    shape: { ...config.shape, tieWordEmbeddings: false },
    json: { ...config.json, tie_word_embeddings: false },
    hasOwnHead: true,
  }
}

/** Whether two matrices of a file hold the same numbers. */
export async function isSameMatrix(reader: TensorReader, a: string, b: string): Promise<boolean> {
  const [one, other] = [reader.tensors.get(a), reader.tensors.get(b)]
  if (!one || !other || one.shape.join() !== other.shape.join()) return false
  const [rows, columns] = one.shape as [number, number]
  const [x, y] = [new Float32Array(columns), new Float32Array(columns)]
  for (let row = 0; row < rows; row++) {
    await Promise.all([reader.readRows(a, row, x), reader.readRows(b, row, y)])
    if (x.some((value, i) => value !== y[i])) return false
  }
  return true
}

/**
 * Tensors of heads that other trainers put beside the model's own: nothing of it is computed with
 * them.
 */
const OTHER_HEADS = /^(v_head|value_head|score|summary|classifier)\./

/**
 * Old Llama checkpoints carry the rotary frequencies; a tied head may be written out beside its
 * twin.
 */
function ignored(shape: DecoderShape): (name: string) => boolean {
  return (name) =>
    name.endsWith(".rotary_emb.inv_freq") ||
    OTHER_HEADS.test(name) ||
    ((shape.tieWordEmbeddings || shape.scores === true) && name === HEAD)
}

/** What the checkpoint is to hold: all of the model but a score that is new. */
export const storedParameters = ({ shape, hasNewScore }: ModelConfig): readonly Parameter[] =>
  decoderParameters(shape).filter(({ name }) => !(hasNewScore && name === SCORE))

function storedDtype(reader: TensorReader, parameters: readonly Parameter[]): CheckpointDtype {
  const kinds = new Set(parameters.map(({ name }) => reader.tensors.get(name)!.dtype))
  if (kinds.size !== 1) return "float32"
  return kinds.has("BF16") ? "bfloat16" : kinds.has("F16") ? "float16" : "float32"
}

/** A Hugging Face folder with its tensors checked against its config. None has been read yet. */
export interface OpenWeights {
  readonly config: ModelConfig
  readonly parameters: readonly Parameter[]
  readonly dtype: CheckpointDtype
  /** A tensor by the checkpoint's name, as float32, into memory of its size if given. */
  read(name: string, into?: Float32Array): Promise<Float32Array>
  /** Rows of a matrix from `row` on, as many as `into` holds. */
  readRows(name: string, row: number, into: Float32Array): Promise<void>
  close(): Promise<void>
}

/**
 * Whether a matrix is to be read some rows at a time where it need not be whole: embedding and
 * head, the largest. The blocks' are small, and of some formats their rows lie in another order
 * than here.
 */
export const isReadByRows = ({ config }: OpenWeights, name: string): boolean =>
  layerTensor(name) === undefined && !config.quantization

/** The tensors that a config asks for, and a reader of them: checked by their names and shapes. */
function checkedTensors(stored: TensorReader, config: ModelConfig, where: string) {
  const { shape, quantization } = config
  checkLayers(stored.tensors.keys(), shape, { where })
  const parameters = storedParameters(config)
  const reader = quantization ? dequantized(stored, quantization, parameters, where) : stored
  checkTensors(reader, parameters, { where, ignored: ignored(shape) })
  return { reader, parameters }
}

/**
 * Opens a Hugging Face folder: config.json and safetensors, one file or shards. Everything is
 * checked against the config before the first weight is read. A tied head is not repeated: it is
 * `model.embed_tokens.weight`.
 *
 * @throws InputError naming the key, file or tensor, what was expected and what came
 */
export async function openWeightsIn(folder: Folder, kind: ModelKind = {}): Promise<OpenWeights> {
  const config = await modelConfigIn(folder, kind)
  const stored = await openCheckpointIn(folder)
  let checked: ReturnType<typeof checkedTensors>
  try {
    checked = checkedTensors(stored, config, folder.path)
  } catch (error) {
    await stored.close()
    throw error
  }
  const { reader, parameters } = checked
  return {
    config,
    parameters,
    dtype: storedDtype(reader, parameters),
    read: (name, into) => reader.readFloat32(name, into),
    readRows: (name, row, into) => reader.readRows(name, row, into),
    close: () => reader.close(),
  }
}

/**
 * Reads all of an open checkpoint, and closes it. A tensor is read straight into its place (16-bit
 * ones through a small buffer), so memory is that of the weights.
 */
export async function loadWeights(
  { config, parameters, dtype, read, close }: OpenWeights,
  { signal, allocate = (n) => new Float32Array(n), onProgress }: LoadOptions = {},
): Promise<LoadedModel> {
  const weights: Weights = new Map()
  try {
    for (const { name, shape } of parameters) {
      signal?.throwIfAborted()
      weights.set(name, await read(name, allocate(elementCount(shape))))
      onProgress?.(weights.size, parameters.length)
    }
  } finally {
    await close()
  }
  return { config, weights, dtype }
}

export interface LoadedQuantizedModel {
  readonly config: ModelConfig
  /** Embeddings, norms, biases and an untied head. */
  readonly weights: Weights
  /** The linear layers of every block, by the checkpoint's names. */
  readonly quantized: Map<string, QuantizedMatrix>
  readonly dtype: CheckpointDtype
}

/**
 * As {@link loadWeights}, with the linear layers of the blocks quantised as they are read: only the
 * largest of them is ever whole in float32.
 */
export async function loadQuantizedWeights(
  { config, parameters, dtype, read, close }: OpenWeights,
  quantization: QuantizeOptions,
  { signal, allocate = (n) => new Float32Array(n), onProgress, whole }: LoadOptions = {},
): Promise<LoadedQuantizedModel> {
  const weights: Weights = new Map()
  const quantized = new Map<string, QuantizedMatrix>()
  const weightNames = linearWeights(config.shape)
  const isLinear = ({ name }: Parameter) => weightNames.has(name) && !whole?.has(name)
  const linears = parameters.filter(isLinear)
  const scratch = new Float32Array(Math.max(...linears.map(({ shape }) => elementCount(shape))))
  try {
    for (const parameter of parameters) {
      signal?.throwIfAborted()
      const { name, shape } = parameter
      if (isLinear(parameter)) {
        const into = scratch.subarray(0, elementCount(shape))
        const weight = await read(name, into)
        const [outFeatures, inFeatures] = [shape[0]!, shape[1]!]
        quantized.set(name, quantizeMatrix(weight, { outFeatures, inFeatures }, quantization))
      } else {
        weights.set(name, await read(name, allocate(elementCount(shape))))
      }
      onProgress?.(weights.size + quantized.size, parameters.length)
    }
  } finally {
    await close()
  }
  return { config, weights, quantized, dtype }
}

import { InputError } from "../../errors.ts"
import type { TensorReader } from "../../formats/safetensors.ts"
import type { DecoderShape, Parameter } from "../families/shape.ts"

const FLOATS: readonly string[] = ["F64", "F32", "F16", "BF16"]
const CHECKPOINT_LAYER = /^model\.layers\.(\d+)(?=\.)/
/** As many as a person will read. */
const NAMED = 4

/** Names as a person will read them. */
export function listed(names: readonly string[]): string {
  const shown = names.slice(0, NAMED).map((name) => `"${name}"`)
  const rest = names.length - shown.length
  return shown.join(", ") + (rest > 0 ? ` and ${rest} more` : "")
}

export interface TensorRules {
  /** The folder or file, for errors. */
  readonly where: string
  /** Tensors that may be there and are not read, by name. */
  readonly ignored?: (name: string) => boolean
}

export interface LayerRules {
  /** The folder or file, for errors. */
  readonly where: string
  /** What the number of layers was read from, as the user finds it. */
  readonly says?: string
  /** The number in a tensor's name that is its layer's, and the name up to it. */
  readonly layerOf?: RegExp
}

/**
 * Refuses a config that asks for more layers than a checkpoint has tensors of, before anything is
 * made for each of them.
 *
 * @throws InputError naming both numbers
 */
export function checkLayers(
  names: Iterable<string>,
  { numHiddenLayers }: Pick<DecoderShape, "numHiddenLayers">,
  { where, says = 'config.json says "num_hidden_layers"', layerOf = CHECKPOINT_LAYER }: LayerRules,
): void {
  let [there, last] = [0, ""]
  for (const name of names) {
    const [prefix, layer] = layerOf.exec(name) ?? []
    if (layer === undefined || Number(layer) < there) continue
    there = Number(layer) + 1
    last = prefix!
  }
  if (there === 0 || numHiddenLayers <= there) return // no layer: the names say why
  throw new InputError(
    `${where}: ${says}: ${numHiddenLayers}, and the checkpoint has tensors of ${there} (the last is ` +
      `${last}); they do not belong together, or a shard is missing`,
  )
}

/**
 * Checks that a checkpoint holds exactly the tensors expected, before any is read.
 * @throws InputError naming the tensors that are missing, unexpected, of another shape or kind
 */
export function checkTensors(
  reader: TensorReader,
  parameters: readonly Parameter[],
  { where, ignored = () => false }: TensorRules,
): void {
  const missing = parameters.filter(({ name }) => !reader.tensors.has(name))
  const names = new Set(parameters.map(({ name }) => name))
  const extra = [...reader.tensors.keys()].filter((name) => !names.has(name) && !ignored(name))
  if (missing.length > 0) {
    const found = extra.length > 0 ? `; found instead ${listed(extra)}` : ""
    throw new InputError(
      `${where}: ${missing.length} of ${parameters.length} tensors that the config asks for are ` +
        `missing: ${listed(missing.map(({ name }) => name))}${found}`,
    )
  }
  if (extra.length > 0) {
    throw new InputError(
      `${where}: unexpected tensors that the config has no place for: ${listed(extra)}; ` +
        "config.json may belong to another checkpoint",
    )
  }
  for (const { name, shape } of parameters) {
    const came = reader.tensors.get(name)!
    if (came.shape.length !== shape.length || came.shape.some((n, i) => n !== shape[i])) {
      throw new InputError(
        `${where}: tensor "${name}": expected shape [${shape.join(", ")}], ` +
          `got [${came.shape.join(", ")}]`,
      )
    }
    if (!FLOATS.includes(came.dtype)) {
      throw new InputError(
        `${where}: tensor "${name}": expected F64, F32, F16 or BF16 weights, got ${came.dtype}`,
      )
    }
  }
}

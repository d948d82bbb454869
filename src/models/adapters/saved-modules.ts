import { InputError } from "../../errors.ts"
import { decoderParameters, EMBEDDING, HEAD } from "../block/parameters.ts"
import type { DecoderShape, Parameter } from "../families/shape.ts"

/**
 * Modules of the base that train whole beside an adapter, as PEFT's `modules_to_save` names them.
 */
export interface SavedModules {
  readonly names: readonly string[]
  /** Their tensors, by the checkpoint's names; a tied head is the embedding. */
  readonly tensors: ReadonlySet<string>
}

export const NO_SAVED_MODULES: SavedModules = { names: [], tensors: new Set() }

/** `a`, `a.b`, `a.b.c` of `a.b.c.weight`: the modules that hold a tensor. */
function modulesAround(tensor: string): string[] {
  const parts = tensor.split(".").slice(0, -1)
  return parts.map((_, i) => parts.slice(0, i + 1).join("."))
}

/** PEFT's rule: the end of a module's path, wherever it begins. */
export function isSavedModule(names: readonly string[], tensor: string): boolean {
  return modulesAround(tensor).some((path) => names.some((name) => path.endsWith(name)))
}

/**
 * Finds the modules of a decoder that `modules_to_save` names. Where embedding and head are one
 * matrix, it is trained as one under either name; files then hold it under both, because PEFT parts
 * them.
 *
 * @throws InputError naming what there is no module of
 */
export function savedModules(
  names: readonly string[],
  shape: DecoderShape,
  where: string,
): SavedModules {
  if (names.length === 0) return NO_SAVED_MODULES
  const own = decoderParameters(shape).map(({ name }) => name)
  const all = new Set(shape.scores ? own : [...own, HEAD])
  for (const name of names) {
    if ([...all].some((tensor) => isSavedModule([name], tensor))) continue
    throw new InputError(
      `${where}: modules_to_save: no module's path ends in ${JSON.stringify(name)}; there are ` +
        "embed_tokens, lm_head, and the modules of the layers, by the ends of their paths",
    )
  }
  const found = [...all].filter((tensor) => isSavedModule(names, tensor))
  const isTied = (tensor: string) => tensor === HEAD && shape.tieWordEmbeddings
  const tensors = new Set(found.map((tensor) => (isTied(tensor) ? EMBEDDING : tensor)))
  const both = shape.tieWordEmbeddings && tensors.has(EMBEDDING)
  const twins = both ? ["embed_tokens", "lm_head"].filter((name) => !names.includes(name)) : []
  return { names: [...names, ...twins], tensors }
}

/**
 * The name under which a decoder holds a tensor of an adapter's file: a tied head is the embedding.
 */
export function heldName(name: string, { tieWordEmbeddings }: DecoderShape): string {
  return tieWordEmbeddings && name === HEAD ? EMBEDDING : name
}

/** The saved modules' tensors as an adapter's file has them, by the checkpoint's names. */
export function savedParameters(shape: DecoderShape, { tensors }: SavedModules): Parameter[] {
  const { vocabSize, hiddenSize, tieWordEmbeddings } = shape
  const saved = decoderParameters(shape).filter(({ name }) => tensors.has(name))
  const twin = { name: HEAD, shape: [vocabSize, hiddenSize] }
  return tieWordEmbeddings && tensors.has(EMBEDDING) ? [...saved, twin] : saved
}

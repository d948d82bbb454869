import { createHash } from "node:crypto"
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { isDeepStrictEqual } from "node:util"
import { InputError } from "../errors.ts"
import { writeFileAtomic } from "../formats/index.ts"
import { isObject, type JsonObject, parseJson } from "../formats/json.ts"
import { readTextFile } from "../formats/json-files.ts"
import { plainBytes } from "../formats/plain-file.ts"
import { weightsHash } from "../models/files/weights-hash.ts"
import type { Precision } from "../runtime/index.ts"
import type { GenerateSettings } from "./generate.ts"
import type { ModelFolders } from "./open-model.ts"

/**
 * What made a file of samples: the model by its weights, and every setting that a sample depends
 * on. Values are plain JSON; `model` is a name for people and is not compared by itself.
 */
export type SampleOrigin = JsonObject

const MAX_BYTES = 1e6
export const originPath = (samples: string): string => `${samples}.origin.json`

/** The largest tokenizers are 35 MB. */
const MAX_FILE_BYTES = 512e6

/** Files that decide what a prompt becomes, what ends a completion and how weights are read. */
const SMALL_FILES =
  /^(?:config|generation_config|tokenizer|tokenizer_config|special_tokens_map|adapter_config|dftune)\.json$|\.jinja$|^tokenizer\.model$/

function smallFilesHash(folder: string): string {
  const hash = createHash("sha256")
  for (const name of readdirSync(folder).sort()) {
    if (SMALL_FILES.test(name))
      hash.update(`${name}\0`).update(plainBytes(join(folder, name), MAX_FILE_BYTES))
  }
  return hash.digest("hex")
}

/**
 * A local model, by hashes of its weights, its base's, and its tokenizer, template and configs, and
 * by the precision that it is computed in.
 */
export function localModelOrigin(
  model: string,
  folders: ModelFolders,
  dtype: Precision,
): SampleOrigin {
  const { folder, base, textFolder } = folders
  return {
    model,
    dtype,
    weights: weightsHash(folder),
    ...(base === null ? {} : { base_weights: weightsHash(base) }),
    configs: [...new Set([folder, base ?? folder, textFolder])].map(smallFilesHash).join(" "),
  }
}

/** A server's model: its name is all that can be known of it. */
export const endpointOrigin = (model: string, endpoint: string): SampleOrigin => ({
  model,
  served_model: model,
  endpoint,
})

/** Settings as a record names them; what is off is left out. */
export function samplingRecord(settings: GenerateSettings): JsonObject {
  const { temperature, topK, topP, minP, repetitionPenalty, maxNewTokens, stop } = settings
  return {
    temperature,
    top_p: topP ?? 1,
    ...(topK === undefined ? {} : { top_k: topK }),
    ...(minP === undefined ? {} : { min_p: minP }),
    ...(repetitionPenalty === undefined ? {} : { repetition_penalty: repetitionPenalty }),
    max_new_tokens: maxNewTokens,
    stop: [...(stop ?? [])],
  }
}

/** In the order in which differences are told. */
const IN_WORDS: Readonly<Record<string, string>> = {
  weights: "the model's weights",
  base_weights: "the weights of the adapter's base",
  configs: "the model's configs, tokenizer or chat template",
}

/** Settings one by one beside the rest. */
function flat({ sampling, ...rest }: SampleOrigin): SampleOrigin {
  return isObject(sampling) ? { ...rest, ...sampling } : rest
}

function differences(before: SampleOrigin, now: SampleOrigin): string[] {
  const [there, here] = [flat(before), flat(now)]
  const keys = [...new Set([...Object.keys(here), ...Object.keys(there)])]
  const differing = keys.filter(
    (key) => key !== "model" && !isDeepStrictEqual(there[key] ?? null, here[key] ?? null),
  )
  const value = (of: unknown): string => (of === undefined ? "not set" : JSON.stringify(of))
  return differing.map((key) => {
    const words = IN_WORDS[key]
    if (words === undefined) return `${key} ${value(there[key])} there, ${value(here[key])} now`
    const names = [there.model, here.model]
    return names[0] === names[1]
      ? `${words} (${String(names[0])} is not what it was)`
      : `${words} (${String(names[0])} there, ${String(names[1])} now)`
  })
}

/**
 * Holds a file of samples to what made it, and writes that beside it when it is new.
 *
 * @param samples how many samples the file holds
 * @throws InputError naming what differs
 */
export async function claimOrigin(
  path: string,
  origin: SampleOrigin,
  samples: number,
  onNotice?: (message: string) => void,
): Promise<void> {
  const record = originPath(path)
  if (samples > 0 && existsSync(record)) {
    const there = parseJson(await readTextFile(record, MAX_BYTES), record)
    const differ = isObject(there) ? differences(there, origin) : ["its record is no object"]
    if (differ.length === 0) return
    throw new InputError(
      `${path}: its ${samples} samples were made otherwise: ${differ.join("; ")}. ` +
        "Ask as before to go on with it, give another --out, or remove it",
    )
  }
  if (samples > 0) {
    onNotice?.(
      `${path}: nothing beside it says which model and settings made its ${samples} samples ` +
        "(dftune 0.1.0 wrote no such record); they are taken for this model's",
    )
  }
  await writeFileAtomic(record, `${JSON.stringify(origin, null, 2)}\n`)
}

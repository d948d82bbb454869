/** What the worker is told: one JSON file, all paths absolute (docs/torch.md). */

import { randomUUID } from "node:crypto"
import { existsSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import type { Config } from "../../config/index.ts"
import { type RunOrder, templateSetup, writeOrder } from "../../data/index.ts"
import { InputError } from "../../errors.ts"
import { makeFolder } from "../../formats/atomic.ts"
import { addedTokensOf, ggufFileOf } from "../../models/files/index.ts"
import { weightsHash } from "../../models/files/weights-hash.ts"

import {
  NORMALIZATION_IN_WORDS,
  needs,
  type Objective,
  objectiveToJson,
} from "../../objectives/index.ts"
import type { FixedBatches } from "../../train/batches.ts"
import type { RolloutSpec } from "./rollouts/rollout-spec.ts"
import { writeRowColumns } from "./row-columns.ts"

/** What a reward model is beside its base. */
export interface ScoreSpec {
  /** A safetensors file with the first `score.weight`; left out: the base has one. */
  readonly start?: string
  /** config.json of the result. */
  readonly modelJson: string
  /** The token that texts are filled up with, which has no score. */
  readonly padToken: number | null
}

/** Completions that the worker makes during the run, as the local engine would. */
export interface SampleSpec {
  readonly every: number
  readonly maxNewTokens: number
  readonly prompts: readonly {
    readonly tokenIds: readonly number[]
    readonly text: string
    readonly reference?: string
  }[]
  readonly stopTokenIds: readonly number[]
  /** What each token id shows as. */
  readonly tokenTexts: readonly string[]
}

export interface RunSpecParts {
  readonly config: Config
  readonly modelFolder: string
  readonly objective: Objective
  readonly order: RunOrder
  /** Prepared folders (docs/architecture.md, seam 1). */
  readonly prepared: string
  /** Rows in it. */
  readonly rows: number
  readonly batches: FixedBatches
  readonly evalSets: readonly {
    readonly name: string
    readonly prepared: string
    readonly batches?: FixedBatches
    readonly rows: number
  }[]
  /** A checkpoint folder; null for a new run. */
  readonly resume: string | null
  /**
   * A safetensors file with the adapter's first values, in PEFT's names; left out, the worker draws
   * them.
   */
  readonly adapterStart?: string
  readonly samples?: SampleSpec
  /** Of a reward model. */
  readonly scores?: ScoreSpec
  /** The text of the model's `dftune.json`. */
  readonly layout?: string
  /** The model has a head of its own, against its config. */
  readonly hasOwnHead?: boolean | undefined
  /** The adapter that training goes on from. */
  readonly earlier?: { readonly hash: string } | undefined
  /** The checkpoint is quantised. */
  readonly isQuantized?: boolean
  /** Of a run that samples: in place of the prepared folders and the order. */
  readonly rollout?: RolloutSpec | undefined
}

/** Where a run's spec lies; the worker's error files lie beside it. */
export const runSpecPath = (outputDir: string) => resolve(outputDir, "torch", "run-spec.json")

/** Writes `<output_dir>/torch/run-spec.json` and `order.safetensors`; returns the spec's path. */
export async function writeRunSpec(parts: RunSpecParts): Promise<string> {
  const { config, objective, order } = parts
  refuseForTorch(parts)
  const path = runSpecPath(config.output_dir)
  const folder = dirname(path)
  rmSync(folder, { recursive: true, force: true }) // of an earlier start, with its errors
  makeFolder(folder)
  const spec = {
    version: 1,
    run_id: randomUUID(),
    config,
    model: resolve(parts.modelFolder),
    ...(parts.rollout ? sampledRows(parts.rollout) : await preparedRows(parts, folder)),
    eval: await Promise.all(
      parts.evalSets.map(async ({ name, prepared, batches, rows }, i) => ({
        name,
        prepared: resolve(prepared),
        row_columns: batches
          ? await rowColumns(join(folder, `row-columns-${i}.safetensors`), batches, { rows })
          : null,
      })),
    ),
    objective: objectiveToJson(objective),
    output_dir: resolve(config.output_dir),
    resume: parts.resume === null ? null : resolve(parts.resume),
    adapter_start: parts.adapterStart === undefined ? null : resolve(parts.adapterStart),
    score_start: parts.scores?.start === undefined ? null : resolve(parts.scores.start),
    model_json: parts.scores?.modelJson ?? null,
    pad_token: parts.scores?.padToken ?? null,
    reference_key: [
      weightsHash(parts.modelFolder),
      ...(parts.earlier ? [parts.earlier.hash] : []),
    ].join("-"),
    normalization_in_words: NORMALIZATION_IN_WORDS[objective.normalization],
    rows_per_epoch: order.rowsPerEpoch,
    layout: parts.layout ?? null,
    template: templateSetup(config.data.template).templateFile,
    samples: parts.samples === undefined ? null : sampleSpec(parts.samples, folder, parts),
  }
  writeFileSync(`${path}.tmp`, `${JSON.stringify(spec, null, 2)}\n`)
  renameSync(`${path}.tmp`, path)
  return path
}

async function preparedRows(parts: RunSpecParts, folder: string) {
  return {
    prepared: resolve(parts.prepared),
    order: await writeOrder(folder, parts.order),
    row_columns: await rowColumns(join(folder, "row-columns.safetensors"), parts.batches, parts),
  }
}

const sampledRows = (rollout: RolloutSpec) => ({
  ...{ prepared: null, order: null, row_columns: null, rollout },
})

function sampleSpec(
  { every, maxNewTokens, prompts, stopTokenIds, tokenTexts }: SampleSpec,
  folder: string,
  { modelFolder }: RunSpecParts,
) {
  const texts = join(folder, "token-texts.json") // a file of its own: the spec stays readable
  writeFileSync(texts, JSON.stringify(tokenTexts))
  return {
    every,
    max_new_tokens: maxNewTokens,
    prompts: prompts.map(({ tokenIds, text, reference }) => ({
      ...{ token_ids: tokenIds, text },
      ...(reference === undefined ? {} : { reference }),
    })),
    stop_token_ids: stopTokenIds,
    token_texts: texts,
    tokenizer: resolve(modelFolder, "tokenizer.json"),
  }
}

async function rowColumns(
  path: string,
  batches: FixedBatches,
  { rows }: { readonly rows: number },
): Promise<string | null> {
  const written = await writeRowColumns(path, batches, rows)
  return written === undefined ? null : resolve(written)
}

function refuseForTorch(parts: RunSpecParts): void {
  const { objective, resume, modelFolder } = parts
  const gguf = ggufFileOf(addedTokensOf(modelFolder)?.base ?? modelFolder)
  if (gguf !== undefined) {
    throw new InputError(
      `${gguf}: engine torch reads Hugging Face folders; make one of it (dftune convert ${gguf} FOLDER), or use engine: onnx`,
    )
  }
  if (parts.isQuantized) {
    throw new InputError(
      `${modelFolder}: is a quantised checkpoint, which engine torch has not been proved on; engine: onnx trains an adapter over it, and dftune convert ${modelFolder} FOLDER makes a plain model of it`,
    )
  }
  if (parts.hasOwnHead) {
    throw new InputError(
      `${modelFolder}: its config ties the head to the embedding, and it holds another head; engine torch would tie them: engine: onnx does not, nor a copy whose config says "tie_word_embeddings": false`,
    )
  }
  const { inputs } = needs(objective.expression)
  const missing = inputs.has("jsd_ref")
    ? "jsd_ref"
    : !parts.rollout && inputs.has("old_logp")
      ? "old_logp"
      : undefined
  if (missing !== undefined) {
    throw new InputError(
      `objective ${objective.name}: needs ${missing}, which engine torch does not make; engine: onnx does`,
    )
  }
  if (resume !== null && !existsSync(join(resume, "distributed"))) {
    throw new InputError(
      `${resume}: is no checkpoint of engine: torch (it has no distributed folder); go on with engine=onnx`,
    )
  }
}

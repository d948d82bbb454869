import { existsSync } from "node:fs"
import { mkdir, readdir, rm, stat } from "node:fs/promises"
import { basename, join, resolve } from "node:path"
import { assert, InputError } from "../errors.ts"
import { temporaryName } from "../formats/atomic.ts"
import { isObject, readJsonObject } from "../formats/index.ts"
import { modelFolders } from "../generate/index.ts"
import { modelNamed } from "../generate/model-named.ts"
import { checkOutputFolder } from "../host/output-place.ts"
import { ownPlace } from "../host/own-place.ts"
import { openWeights } from "../models/files/index.ts"
import type { CheckpointDtype } from "../models/index.ts"
import { refuseMissingRun } from "../run/missing-run.ts"
import { isRunFolder, RUN_FILES } from "../run/run-folder.ts"
import { type AdapterEffect, adapterEffect, type Unmeasured } from "./adapter-effect.ts"
import { writeCompressed } from "./compressed-tensors.ts"
import { GGUF_OF_DTYPE, writeGgufFile } from "./gguf.ts"
import { writeGgufAdapter } from "./gguf-adapter.ts"
import { writeHuggingFace, writePeft } from "./hugging-face.ts"
import type { ExportFormat, GgufTypeName, Rounding } from "./names.ts"
import { writeOllama } from "./ollama.ts"
import type { AddedAdapter, ExportSource, Work, Written } from "./source.ts"
import { checkPlace, stagedFolder } from "./staging.ts"

export interface ExportOptions {
  readonly to: ExportFormat
  /** The folder to write. `export/<to>` of a run when left out. */
  readonly out?: string
  /** hf, merged: what to store weights in; the checkpoint's (or the base's) own when left out. */
  readonly dtype?: CheckpointDtype
  /** gguf, ollama: the same. */
  readonly type?: GgufTypeName
  /** hf, merged, gguf, ollama, in 16 bits: to the nearest value (the default), or up by chance. */
  readonly rounding?: Rounding
  /** gguf, ollama: llama.cpp's name of the pre-tokenizer, where it is not recognised. */
  readonly preTokenizer?: string
  /** In place of the base that an adapter names. */
  readonly base?: string
  /** Of an adapter: what its update is multiplied with. */
  readonly weight?: number
  /** Other adapters over the same base, which are added to it. */
  readonly added?: readonly AddedAdapter[]
  /** Of a hub id: branch, tag or commit. */
  readonly revision?: string
  /** Write into a folder that is not empty. */
  readonly force?: boolean
  readonly signal?: AbortSignal
  readonly onProgress?: (message: string) => void
  /** Told of the run that a config stands for. */
  readonly onNotice?: ((message: string) => void) | undefined
}

export interface ExportedFile {
  readonly file: string
  readonly bytes: number
}

export interface ExportResult extends Written {
  readonly to: ExportFormat
  readonly source: string
  readonly out: string
  readonly files: readonly ExportedFile[]
  /**
   * Of an adapter folded in: what is left of its effect on the run's rows, or why that is unknown.
   */
  readonly effect?: AdapterEffect | Unmeasured
}

interface Writer {
  /** Whether it writes a model with an adapter, without one, or either. */
  readonly takes: "adapter" | "whole model" | "either"
  /** What to do instead. */
  readonly instead: string
  readonly write: (
    source: ExportSource,
    stage: string,
    options: ExportOptions & Work,
  ) => Promise<Written>
}

const WRITERS: { readonly [Format in ExportFormat]: Writer } = {
  hf: {
    takes: "whole model",
    instead: "--to merged folds the adapter into its base, --to peft keeps it apart",
    write: writeHuggingFace,
  },
  peft: {
    takes: "adapter",
    instead: "--to hf writes the model",
    write: writePeft,
  },
  merged: {
    takes: "adapter",
    instead: "--to hf writes the model",
    write: writeHuggingFace,
  },
  gguf: { takes: "either", instead: "", write: writeGgufFile },
  ollama: { takes: "either", instead: "", write: writeOllama },
  "gguf-adapter": {
    takes: "adapter",
    instead: "--to gguf writes the model",
    write: writeGgufAdapter,
  },
  int8: { takes: "either", instead: "", write: writeCompressed(8) },
  int4: { takes: "either", instead: "", write: writeCompressed(4) },
}

/** Options that only some formats have. */
function checkOptions({ to, dtype, type, preTokenizer, rounding }: ExportOptions): void {
  if (!Object.hasOwn(WRITERS, to)) {
    const names = Object.keys(WRITERS).join(", ")
    throw new InputError(`to: expected one of ${names}, got ${JSON.stringify(to)}`)
  }
  const hugging = to === "hf" || to === "merged"
  const gguf = to === "gguf" || to === "ollama"
  if (dtype !== undefined && !hugging) {
    const hint = gguf ? "; use --type" : ""
    throw new InputError(`--dtype is for --to hf and merged, not ${to}${hint}`)
  }
  if (type !== undefined && !gguf) {
    const hint = hugging ? "; use --dtype" : ""
    throw new InputError(`--type is for --to gguf and ollama, not ${to}${hint}`)
  }
  if (rounding === "stochastic" && !hugging && !gguf) {
    throw new InputError(`--rounding is for --to hf, merged, gguf and ollama, not ${to}`)
  }
  if (preTokenizer !== undefined && !gguf) {
    throw new InputError(`--pre is for --to gguf and ollama, not ${to}`)
  }
}

function checkKind(run: string, { to, base }: ExportOptions, source: ExportSource): void {
  const { takes, instead } = WRITERS[to]
  const kind = source.base === null ? "whole model" : "adapter"
  if (takes !== "either" && takes !== kind) {
    const got = kind === "adapter" ? "is an adapter" : "is a whole model, without an adapter"
    throw new InputError(
      `${run}: --to ${to} needs ${takes === "adapter" ? "an adapter" : "a whole model"}, and this ${got}; ${instead}`,
    )
  }
  if (base !== undefined && kind !== "adapter") {
    throw new InputError(`--base is for adapters, and ${run} is a whole model`)
  }
}

function outFolder(run: string, { out, to }: ExportOptions): string {
  if (out !== undefined) return out
  if (isRunFolder(run)) return ownPlace(run, "export", to)
  if (!existsSync(run) && !run.includes("/")) {
    throw new InputError(
      `${run}: no such folder or run here; of a model of the hub, --out says where to write`,
    )
  }
  throw new InputError(`--out: expected a folder to write to; only a run has one by default`)
}

/** What a run's folder says about its model that the model's does not. */
async function runNotes(run: string, { folder, base }: ExportSource): Promise<string[]> {
  if (!isRunFolder(run)) return []
  const unfinished = resolve(folder) !== resolve(run, RUN_FILES.model)
  const record = ownPlace(run, RUN_FILES.config)
  const { config } = existsSync(record) ? await readJsonObject(record) : {}
  const { quantization } = isObject(config) ? config : {}
  const quantized = base !== null && (quantization === "int8" || quantization === "int4")
  return [
    ...(unfinished
      ? [`the run has no ${RUN_FILES.model}/ yet: this is its checkpoint ${basename(folder)}`]
      : []),
    ...(quantized
      ? [
          `the adapter was trained over an ${quantization} base; here it meets the base as it was before`,
        ]
      : []),
  ]
}

async function filesOf(folder: string): Promise<ExportedFile[]> {
  const names = (await readdir(folder)).sort()
  return Promise.all(
    names.map(async (file) => ({ file, bytes: (await stat(join(folder, file))).size })),
  )
}

/** What a reader of the folder opens. */
async function modelIn(folder: string): Promise<string> {
  const gguf = (await readdir(folder)).find((name) => name.endsWith(".gguf"))
  return gguf === undefined ? folder : join(folder, gguf)
}

/** Whether a type holds every value of a checkpoint as it is. */
async function holds(stored: Written["stored"], base: string): Promise<boolean> {
  if (stored === "float32" || stored === "f32") return true
  const { dtype, close } = await openWeights(base)
  await close()
  return stored === dtype || stored === GGUF_OF_DTYPE[dtype]
}

/** The base alone is written too, for as long as it is asked, where its type changes it. */
async function keptEffect(
  run: string,
  source: ExportSource,
  stored: Written["stored"],
  options: ExportOptions,
): Promise<AdapterEffect | Unmeasured> {
  const { to, base, signal, onProgress: show = () => {} } = options
  const out = outFolder(run, options)
  assert(source.base !== null, "keptEffect: a model without an adapter")
  const written = await modelIn(out)
  show("measuring the adapter's effect before and after")
  if (await holds(stored, source.base)) {
    return adapterEffect(run, { written, writtenBase: undefined, base, signal })
  }
  const beside = temporaryName(resolve(out))
  try {
    await mkdir(beside, { recursive: true })
    const alone = { ...source, folder: source.base, base: null }
    const shown = (text: string) => show(`the base alone, to measure the adapter: ${text}`)
    await WRITERS[to].write(alone, beside, { ...options, show: shown })
    const writtenBase = await modelIn(beside)
    return await adapterEffect(run, { written, writtenBase, base, signal })
  } finally {
    await rm(beside, { recursive: true, force: true })
  }
}

/**
 * Writes a model for other tools and reads back what it wrote: names, shapes, and every value
 * within what its type can hold. The folder is put in place when that is done; nothing half is
 * left.
 *
 * @param word a run folder, a model folder, an adapter folder, a hub id, or the config of a run
 * @throws InputError for what cannot be exported so, with what to do instead
 */
export async function exportModel(word: string, options: ExportOptions): Promise<ExportResult> {
  const { to, base, revision, force = false, signal, onProgress } = options
  checkOptions(options)
  const run = await modelNamed(word, options.onNotice)
  refuseMissingRun(run)
  const out = outFolder(run, options)
  await checkPlace(out, { force })
  const folders = await modelFolders(run, {
    withBaseWeights: to !== "peft" && to !== "gguf-adapter",
    ...(base === undefined ? {} : { base }),
    ...(revision === undefined ? {} : { revision }),
    ...(signal ? { signal } : {}),
    ...(onProgress ? { onProgress } : {}),
    onNotice: options.onNotice,
  })
  const { weight, added = [] } = options
  const source: ExportSource = { ...folders, name: basename(resolve(run)), weight, added }
  checkKind(run, options, source)
  if (source.base === null && (added.length > 0 || weight !== undefined)) {
    throw new InputError(`--add and --weight are for adapters, and ${run} is a whole model`)
  }
  const others = added.map(({ path }) => path)
  const read = [source.folder, source.base, source.textFolder, ...others].filter(
    (path) => path !== null,
  )
  checkOutputFolder(out, {
    option: "--out",
    reads: read.map((path) => ({ path, what: "the model" })),
  })
  const show = onProgress ?? (() => {})
  const { written, files } = await stagedFolder(out, async (stage) => {
    const written = await WRITERS[to].write(source, stage, { ...options, show })
    signal?.throwIfAborted()
    return { written, files: await filesOf(stage) }
  })
  const { stored, verified, notes } = written
  const isItself = added.length === 0 && (weight ?? 1) === 1 // else it is meant to differ
  const foldsIn = isItself && source.base !== null && to !== "peft" && to !== "gguf-adapter"
  const effect = foldsIn ? await keptEffect(run, source, stored, options) : undefined
  return {
    ...(effect ? { effect } : {}),
    to,
    source: source.folder,
    out,
    stored,
    files,
    verified,
    notes: [...(await runNotes(run, source)), ...notes],
  }
}

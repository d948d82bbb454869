import { InputError } from "../errors.ts"
import type { Folder } from "../formats/folder.ts"
import type { Sample, SampleRequest } from "../generate/sample-source.ts"
import { parameterCount } from "../models/block/parameters.ts"
import type { WeightQuantization } from "../models/index.ts"
import type { RunEvent } from "../run/events.ts"
import type { Device } from "../runtime/index.ts"
import { fetchedFolder, fileFolder } from "./folders.ts"
import { hubFolder } from "./hub-folder.ts"
import { PackedBase, packedBytes } from "./packed-base.ts"
import { type SavedModel, SavedModels } from "./saved-models.ts"
import { type TabSettings, tabConfig } from "./tab-config.ts"
import { heldWeights, loadingNeed, memoryProblem } from "./tab-memory.ts"
import { configBefore, openTabModel, type TabModel } from "./tab-model.ts"
import { rowValues, type TabRows, tabRows } from "./tab-rows.ts"
import { type SeenToken, TabRun, tabMemory } from "./tab-run.ts"
import {
  openWebDevice,
  threadsProblem,
  type WebDeviceKind,
  type WebDeviceOptions,
  type WebRuntime,
  webDeviceKind,
} from "./web-device.ts"

/** Where a model comes from. */
export type ModelSource =
  | { readonly kind: "url"; readonly url: string }
  | { readonly kind: "files"; readonly name: string; readonly files: readonly File[] }
  | { readonly kind: "hub"; readonly id: string }

export interface LoadOptions {
  /** What an adapter calls its base; the source's own name if left out. */
  readonly name?: string
  readonly quantization?: WeightQuantization
}

export interface ModelInfo {
  readonly name: string
  readonly modelType: string
  readonly parameters: number
  readonly vocabSize: number
  readonly contextLength: number
  readonly hasTemplate: boolean
}

export interface RowsInfo
  extends Pick<TabRows, "rows" | "supervisedTokens" | "dropped" | "refused" | "truncated"> {
  readonly tokens: number
}

/** What runs would hold, in bytes. */
export interface MemoryInfo {
  /** The base, held once. */
  readonly weights: number
  /** What all runs have of their own: gradients, moments, activations, their graphs' memory. */
  readonly runs: number
  /** The packed copy that an adapter's base is sampled from. */
  readonly sampling: number
  readonly total: number
  /** Why this tab cannot hold it, as it was tried; undefined where it can. */
  readonly problem?: string
}

/** A sample with the text and probability of each of its tokens. */
export interface SaidText {
  readonly completion: string
  readonly finishReason: Sample["finishReason"]
  readonly tokens: readonly string[]
  readonly probabilities: readonly number[]
}

/** A part of something that takes long: what, and how much of it (0 to 1) where that is known. */
export type Progress = (what: string, share?: number) => void

/** Rows as they were read last, and what they were read from. */
interface ReadRows {
  readonly text: string
  readonly key: string
  readonly model: TabModel
  readonly rows: TabRows
}

/**
 * The tab's engine, in a worker: one device, one model, rows, and runs by their names. Every method
 * takes and gives plain data, so that it can be called across a message port (`serveTab`,
 * `connectTab`).
 */
export class TabService {
  readonly #runtime: (device: WebDeviceKind) => Promise<WebRuntime>
  readonly #runs = new Map<string, { readonly run: TabRun; readonly rows: TabRows }>()
  readonly #texts = new Map<"train" | "held-out", string>()
  readonly #reads = new Map<string, ReadRows>()
  #device: Device | undefined
  #model: TabModel | undefined
  #packedBase: PackedBase | undefined

  /** `runtime` imports the build of onnxruntime-web that a device needs. */
  constructor(runtime: (device: WebDeviceKind) => Promise<WebRuntime>) {
    this.#runtime = runtime
  }

  /**
   * Opens a device in place of the one before; "auto" is WebGPU where there is one, else
   * WebAssembly.
   *
   * @throws InputError where the device is not there
   */
  async open({
    device: wanted,
    ...options
  }: Omit<WebDeviceOptions, "device"> & { readonly device: "auto" | WebDeviceKind }): Promise<{
    description: string
    problem?: string
  }> {
    await this.#releaseRuns()
    await this.#device?.release()
    const device = wanted === "auto" ? await webDeviceKind() : wanted
    this.#device = await openWebDevice(await this.#runtime(device), { device, ...options })
    const problem = device === "wasm" ? threadsProblem() : undefined
    return { description: this.#device.description, ...(problem ? { problem } : {}) }
  }

  /** Loads a model in place of the one before; its runs end. */
  async load(
    source: ModelSource,
    { name, quantization }: LoadOptions = {},
    progress: Progress = () => {},
  ): Promise<ModelInfo> {
    await this.#releaseRuns()
    this.#model = undefined
    const folder = await opened(source, progress)
    const problem = memoryProblem(loadingNeed(await configBefore(folder), quantization))
    if (problem) throw new InputError(`${folder.path}: this tab cannot hold it: ${problem}`)
    const model = await openTabModel(folder, {
      name: name ?? (source.kind === "hub" ? source.id : folder.path),
      quantization,
      onProgress: (read, all) => progress("reading weights", read / all),
    })
    this.#model = model
    const { config, template } = model
    const { shape } = config
    return {
      name: model.name,
      modelType: config.modelType,
      parameters: parameterCount(shape),
      vocabSize: shape.vocabSize,
      contextLength: shape.maxPositionEmbeddings,
      hasTemplate: template !== null,
    }
  }

  /**
   * Checks rows and keeps their text: what `start` trains on, or measures.
   *
   * @throws InputError naming the line
   */
  async rows(
    kind: "train" | "held-out",
    text: string,
    settings: TabSettings = {},
  ): Promise<RowsInfo> {
    const read = this.#read(kind, text, settings)
    this.#texts.set(kind, text)
    const { rows, supervisedTokens, dropped, refused, truncated, lengths } = read
    const tokens = lengths.reduce((sum, length) => sum + length, 0)
    return { rows, supervisedTokens, dropped, refused, truncated, tokens }
  }

  /** What `runs` runs of these settings would hold. */
  async memory(settings: TabSettings, runs = 1): Promise<MemoryInfo> {
    const parts = this.#parts(settings)
    const { model, device, config } = parts
    const { total: one, workspace } = tabMemory(parts)
    const weights = heldWeights(model.config, model.quantization)
    // A base that is trained is copied for each run; under an adapter all share it.
    const own = config.adapter ? one - weights : one
    const sampling = config.adapter && device.sharesHostMemory ? packedBytes(model) : 0
    const total = weights + runs * own + sampling
    const heap = device.sharesHostMemory ? runs * workspace + sampling : 0
    const problem = memoryProblem({ arrays: total - heap, heap })
    return { weights, runs: runs * own, sampling, total, ...(problem ? { problem } : {}) }
  }

  /**
   * Begins a run, in place of one of the same name.
   *
   * @throws InputError where this tab cannot hold it beside the runs that are there
   */
  async start(
    name: string,
    settings: TabSettings,
    progress: Progress = () => {},
  ): Promise<{ readonly steps: number }> {
    await this.release(name)
    const parts = this.#parts(settings)
    const { problem } = await this.memory(settings, this.#runs.size + 1)
    if (problem) {
      throw new InputError(
        `this tab cannot hold the run: ${problem}; take a smaller model, shorter rows ` +
          "(data.max_length) or fewer tokens at once (micro_batch_tokens)",
      )
    }
    progress("compiling")
    const heldOut = this.#texts.get("held-out")
    this.#packedBase ??= new PackedBase(parts.device, parts.model)
    const run = await TabRun.open({
      ...parts,
      packedBase: this.#packedBase,
      ...(heldOut === undefined ? {} : { heldOut: this.#read("held-out", heldOut, settings) }),
    })
    this.#runs.set(name, { run, rows: parts.rows })
    return { steps: run.steps }
  }

  /** To the end of the run's next step; empty when it is over. */
  async advance(name: string, progress: Progress = () => {}): Promise<RunEvent[]> {
    const { run } = this.#run(name)
    return run.advance((share) => progress(`step ${run.step + 1}`, share))
  }

  async sample(
    name: string,
    request: SampleRequest,
    progress: Progress = () => {},
  ): Promise<SaidText[]> {
    const { tokenizer } = this.#opened().model
    const { run } = this.#run(name)
    const options = {
      onToken: counter(request.n * request.maxNewTokens, (share) => progress("sampling", share)),
      onPacked: (share: number) => progress("making ready to sample", share),
    }
    const said: SaidText[] = []
    for await (const sample of run.sample([request], options)) {
      const { completion, finishReason, tokenIds, logprobs } = sample
      said.push({
        completion,
        finishReason,
        tokens: tokenIds.map((id) => tokenizer.tokenText(id)),
        probabilities: logprobs.map((logp) => Math.exp(logp)),
      })
    }
    return said
  }

  /** Each token of a training row (from 0) as the run's model sees it now. */
  async look(name: string, row: number): Promise<SeenToken[]> {
    const { run, rows } = this.#run(name)
    if (!(Number.isInteger(row) && row >= 0 && row < rows.rows)) {
      throw new InputError(`row ${row + 1}: there are ${rows.rows}`)
    }
    return run.look(rows.row(row))
  }

  /** The run's adapter in PEFT's format, file by file. */
  async adapter(name: string): Promise<ReadonlyMap<string, Uint8Array>> {
    return this.#run(name).run.adapter()
  }

  /** Lets go of a run; nothing happens where there is none of this name. */
  async release(name: string): Promise<void> {
    const known = this.#runs.get(name)
    this.#runs.delete(name)
    await known?.run.release()
  }

  /** Models of the hub that this browser keeps. */
  async saved(): Promise<SavedModel[]> {
    return (await SavedModels.here()?.list()) ?? []
  }

  /** Deletes what is kept of a model of the hub. */
  async forget(id: string): Promise<void> {
    await SavedModels.here()?.delete(id)
  }

  /** All runs, and what they sampled from. */
  async #releaseRuns(): Promise<void> {
    for (const name of [...this.#runs.keys()]) await this.release(name)
    await this.#packedBase?.release()
    this.#packedBase = undefined
  }

  #opened(): { readonly device: Device; readonly model: TabModel } {
    const [device, model] = [this.#device, this.#model]
    if (!device) throw new InputError("no device is open; open() comes first")
    if (!model) throw new InputError("no model is loaded; load() comes before")
    return { device, model }
  }

  #run(name: string): { readonly run: TabRun; readonly rows: TabRows } {
    const known = this.#runs.get(name)
    if (!known) throw new InputError(`no run is called "${name}"; start() comes before`)
    return known
  }

  /** Rows are read anew only where something that makes them is another. */
  #read(kind: "train" | "held-out", text: string, settings: TabSettings): TabRows {
    const { model } = this.#opened()
    const config = tabConfig(settings)
    const key = JSON.stringify(config.data)
    const known = this.#reads.get(kind)
    if (known?.text === text && known.key === key && known.model === model) return known.rows
    const name = kind === "train" ? "rows" : "held-out rows"
    const rows = tabRows(name, rowValues(text, name), config, model)
    this.#reads.set(kind, { text, key, model, rows })
    return rows
  }

  #parts(settings: TabSettings) {
    const text = this.#texts.get("train")
    if (text === undefined) throw new InputError("there are no rows; rows() comes before")
    const rows = this.#read("train", text, settings)
    return { ...this.#opened(), rows, config: tabConfig(settings) }
  }
}

function opened(source: ModelSource, progress: Progress): Promise<Folder> {
  const onProgress = (file: string, bytes: number, total: number | undefined) =>
    progress(`fetching ${file}`, total && bytes / total)
  if (source.kind === "url") return fetchedFolder(source.url, { onProgress })
  if (source.kind === "files") return Promise.resolve(fileFolder(source.name, source.files))
  const onChecked = (file: string, share: number) => progress(`checking the saved ${file}`, share)
  return hubFolder(source.id, { onProgress, onChecked })
}

/** Called once for each of `all`; tells their share. */
function counter(all: number, tell: (share: number) => void): () => void {
  let done = 0
  return () => tell(Math.min(1, ++done / all))
}

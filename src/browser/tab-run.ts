import type { Config } from "../config/resolve-config.ts"
import { runOrder } from "../data/order.ts"
import type { PreparedRow } from "../data/prepared.ts"
import { InputError } from "../errors.ts"
import { safetensorsPieces } from "../formats/safetensors.ts"
import { LocalSource } from "../generate/local-source.ts"
import type { Sample, SampleOptions, SampleRequest } from "../generate/sample-source.ts"
import { adapterConfig } from "../models/files/adapter-config.ts"
import { ADAPTER_CONFIG, ADAPTER_TENSORS } from "../models/files/adapter-format.ts"
import { storedTensors } from "../models/files/stored-tensors.ts"
import {
  compiledSize,
  loraInputs,
  quantizedModelBytes,
  type TokenOutputs,
} from "../models/index.ts"
import { type Objective, objectiveFromConfig } from "../objectives/index.ts"
import type { EventBody, RunEvent } from "../run/events.ts"
import type { Device, HostTensor } from "../runtime/index.ts"
import { abandonedTokensWatch } from "../train/abandoned-tokens.ts"
import { type FixedBatches, supervisedBatches } from "../train/batches.ts"
import { runStart } from "../train/first-event.ts"
import { headOutputs, standsAlone } from "../train/held-out-loss.ts"
import { type MemoryPlan, memoryPlan } from "../train/memory-plan.ts"
import { chosenMicroBatchTokens } from "../train/micro-batch-tokens.ts"
import { stepBatch } from "../train/micro-batches.ts"
import { adapterSpec, HEAD_ROWS, routerAuxLossCoef } from "../train/model-settings.ts"
import { adapterWeights } from "../train/model-weights.ts"
import { type ObjectiveHead, objectiveHead } from "../train/objective-head.ts"
import { oldLogprobsFor } from "../train/old-logprobs.ts"
import { largestSplit, type SplitOptions } from "../train/split-rows.ts"
import { openTrainedModel, type TrainedModel, trainedTensors } from "../train/trained-model.ts"
import { START, trainSteps } from "../train/trainer.ts"
import { joined } from "./bytes.ts"
import { countedDevice, RunCount } from "./counted-device.ts"
import { PackedBase } from "./packed-base.ts"
import type { TabModel } from "./tab-model.ts"
import type { TabRows } from "./tab-rows.ts"

export interface TabRunOptions {
  readonly device: Device
  readonly model: TabModel
  readonly rows: TabRows
  /** Held out: its cross-entropy is measured before the first step and every `eval_steps`. */
  readonly heldOut?: TabRows
  readonly config: Config
  /** Shared by the runs of one model, which sample from one copy of it; its own if left out. */
  readonly packedBase?: PackedBase
  readonly signal?: AbortSignal
}

export interface TabSampleOptions extends Pick<SampleOptions, "signal" | "onToken"> {
  readonly onPacked?: ((share: number) => void) | undefined
}

/** A token of a row, as a model sees it. */
export interface SeenToken {
  readonly text: string
  /** Whether the objective trains it here. */
  readonly supervised: boolean
  /** 0 content, 1 end of turn, 2 other special or template token. */
  readonly tokenClass: number
  /** The model's probability of this token after those before it; null for the first. */
  readonly p: number | null
  /**
   * What the objective multiplies its NLL with; null where it is not trained, and for objectives
   * whose weight depends on the rest of a step.
   */
  readonly weight: number | null
}

/** What a run would hold, in bytes, before anything is made. */
export function tabMemory({ model, rows, config, device }: TabRunOptions): MemoryPlan {
  return plansOf({ model, rows, config, device }).memory
}

function plansOf({ model, rows, config, device }: Omit<TabRunOptions, "heldOut">) {
  const { shape } = model.config
  const objective = objectiveFromConfig(config.objective)
  const lora = config.adapter ? adapterSpec(config.adapter, model.config) : undefined
  const capacity =
    config.micro_batch_tokens === "auto"
      ? chosenMicroBatchTokens(shape, {
          device: device.sharesHostMemory ? "cpu" : "webgpu",
          quantized: model.quantization !== undefined,
        })
      : config.micro_batch_tokens
  const split: SplitOptions = { capacity, packing: config.data.packing }
  const memory = memoryPlan({
    shape,
    lora: lora && loraInputs(lora),
    quantization: model.quantization,
    tokens: compiledSize(largestSplit(rows.lengths, config.batch_size, split)),
    recompute: config.recompute,
    optimizer: config.optimizer,
    bytes: config.device_memory === "auto" ? Number.POSITIVE_INFINITY : config.device_memory,
    headRows: HEAD_ROWS,
    headSettings: objectiveHead(objective).settings,
    process: 0,
    routers: routerAuxLossCoef(config, shape, objective) > 0,
    ...(model.quantization ? { frozenBytes: quantizedModelBytes(shape, model.quantization) } : {}),
  })
  return { shape, objective, lora, split, memory }
}

const stamp = (body: EventBody): RunEvent =>
  ({ ...body, time: new Date().toISOString() }) as RunEvent

/**
 * A run in this tab, by the loop that `dftune train` uses. Steps are made when they are asked for:
 * who stops asking has paused it.
 */
export class TabRun {
  readonly #options: TabRunOptions
  readonly #trained: TrainedModel
  readonly #count: RunCount
  readonly #objective: Objective
  readonly #head: ObjectiveHead
  readonly #events: ReturnType<typeof trainSteps>
  readonly #packedBase: PackedBase
  #sampling: { readonly source: LocalSource; release(): Promise<void> } | undefined
  readonly #lora: ReturnType<typeof plansOf>["lora"]
  readonly #split: SplitOptions
  readonly #memory: MemoryPlan
  /** What to warn of after an event. */
  readonly #watch: ReturnType<typeof abandonedTokensWatch>
  readonly #batches: FixedBatches
  #step = 0
  #begun = false
  #done = false

  /** @throws InputError for settings that do not fit the model, and for what a tab cannot do */
  static async open(options: TabRunOptions): Promise<TabRun> {
    const { device, model, config, rows } = options
    refuse(options)
    const plans = plansOf(options)
    const { shape, lora, objective, memory } = plans
    // Fully trained weights are written over; a frozen base is shared by all runs.
    const own = (tensors: ReadonlyMap<string, HostTensor>) =>
      lora || !device.sharesHostMemory
        ? tensors
        : new Map([...tensors].map(([name, x]) => [name, { ...x, data: x.data.slice() }]))
    const adapter = adapterWeights(shape, lora, config.seed)
    const count = new RunCount()
    const counted = countedDevice(device, () => count.add())
    const trained = await openTrainedModel({
      ...{ device: counted, config, shape, objective, lora },
      quantization: model.quantization,
      keep: memory.keep,
      weights: new Map([...own(model.weights), ...adapter]),
      frozenWeights: async () => model.weights,
    })
    const order = runOrder({
      manifest: { sources: [{ ...EMPTY_SOURCE, path: "rows", rows: rows.rows }] },
      seed: config.seed,
      batchSize: config.batch_size,
      epochs: config.num_train_epochs,
      maxSteps: config.max_steps,
    })
    return new TabRun(options, { trained, count }, plans, supervisedBatches(rows, order))
  }

  private constructor(
    options: TabRunOptions,
    { trained, count }: { readonly trained: TrainedModel; readonly count: RunCount },
    { objective, lora, split, memory }: ReturnType<typeof plansOf>,
    batches: FixedBatches,
  ) {
    this.#options = options
    this.#trained = trained
    this.#count = count
    this.#objective = objective
    this.#head = objectiveHead(objective)
    this.#watch = abandonedTokensWatch(objective)
    this.#lora = lora
    this.#split = split
    this.#memory = memory
    this.#batches = batches
    const { config, heldOut, signal, model } = options
    const oldLogprobs = oldLogprobsFor(objective, batches, split)
    this.#events = trainSteps({
      policy: trained.policy,
      objective,
      batches,
      split,
      evalSets: heldOut ? [{ name: "held-out", rows: heldOut }] : [],
      settings: config,
      // A browser tells nobody what it holds; the plan says what the run makes.
      memoryBytes: () => Math.round(memory.total),
      save: async () => {
        throw new Error("a tab saves no checkpoints")
      },
      ...(oldLogprobs ? { oldLogprobs } : {}),
      ...(trained.reference ? { reference: trained.reference } : {}),
      ...(signal ? { signal } : {}),
    })
    this.#packedBase = options.packedBase ?? new PackedBase(options.device, model)
  }

  /** Optimizer steps done. */
  get step(): number {
    return this.#step
  }
  get steps(): number {
    return this.#batches.steps
  }

  /**
   * Goes on to the end of the next optimizer step, and says what happened: `run.start` first, and
   * `run.end` after the last step. Empty when the run is over.
   *
   * @throws InputError where a loss is not finite
   */
  async advance(onProgress: (share: number) => void = () => {}): Promise<RunEvent[]> {
    const events: RunEvent[] = []
    if (this.#done) return events
    this.#count.begin(onProgress)
    if (!this.#begun) {
      const { rows, config } = this.#options
      const start = runStart({
        runId: crypto.randomUUID(),
        name: "tab",
        decoder: this.#trained.policy.decoder,
        objective: this.#objective,
        supervisedTokens: rows.supervisedTokens,
        rows: rows.rows,
        batchSize: config.batch_size,
        steps: this.steps,
        plannedMemoryBytes: this.#memory.total,
      })
      events.push(stamp(start))
    }
    this.#begun = true
    for (;;) {
      const next = await this.#events.next()
      if (next.done) {
        this.#done = true
        events.push(stamp({ type: "run.end", step: this.#step, reason: next.value.reason }))
        return events
      }
      const event = stamp(next.value)
      events.push(event)
      this.#step = event.step
      const warning = this.#watch(event)
      if (warning) events.push(stamp({ type: "warning", step: event.step, ...warning }))
      const ended = next.value.type === "histogram" && next.value.name === "train"
      if (ended && this.#step < this.steps) {
        this.#count.end()
        return events
      }
    }
  }

  /** The same, event by event, to the end of the run. */
  async *[Symbol.asyncIterator](): AsyncGenerator<RunEvent> {
    for (;;) {
      const events = await this.advance()
      if (events.length === 0) return
      yield* events
    }
  }

  /**
   * Completions from the weights as they are now. The first call under an adapter packs the base;
   * `onPacked` is told how far that is (0 to 1).
   */
  async *sample(
    requests: readonly SampleRequest[],
    { onPacked, ...options }: TabSampleOptions = {},
  ): AsyncGenerator<Sample> {
    this.#sampling ??= await this.#openSampling(onPacked)
    yield* this.#sampling.source.sample(requests, options)
  }

  async #openSampling(onPacked: TabSampleOptions["onPacked"]) {
    const { device, model } = this.#options
    const { decoder } = this.#trained.policy
    // A base that is trained itself changes at each step, and a GPU decodes codes as it reads them.
    const packed =
      this.#lora && device.sharesHostMemory
        ? await this.#packedBase.under(loraInputs(this.#lora), decoder.weights, onPacked)
        : undefined
    const source = new LocalSource({
      model: packed?.model ?? decoder,
      tokenizer: model.tokenizer,
      template: model.template,
      stopTokenIds: model.stopIds,
    })
    return {
      source,
      release: async () => {
        await source.release()
        packed?.release()
      },
    }
  }

  /** Each token of a row as the model sees it now, and what the objective makes of it. */
  async look(row: PreparedRow): Promise<SeenToken[]> {
    const { tokenizer } = this.#options.model
    const all = { ...row, lossMask: row.lossMask.map((_, t) => (t === 0 ? 0 : 1)) }
    const { logp } = await this.#outputs(all)
    const hasTargets = row.lossMask.some((mask, t) => t > 0 && mask === 1)
    const weights =
      hasTargets && standsAlone(this.#head) ? (await this.#outputs(row)).weight : undefined
    let target = 0
    return Array.from(row.tokenIds, (id, t) => {
      const supervised = t > 0 && row.lossMask[t] === 1
      return {
        text: tokenizer.tokenText(id),
        supervised,
        tokenClass: row.tokenClass[t]!,
        p: t === 0 ? null : Math.exp(logp[t - 1]!),
        weight: supervised ? (weights?.[target++] ?? null) : null,
      }
    })
  }

  /** What the head says of a row's supervised tokens. */
  #outputs(row: PreparedRow): Promise<TokenOutputs> {
    const options = { ...this.#split, normalization: this.#objective.normalization }
    const [microBatch] = stepBatch([row], options).microBatches
    const { policy, reference } = this.#trained
    const parts = { decoder: policy.decoder, head: this.#head, steps: this.steps, reference }
    return headOutputs(parts, microBatch!, this.#step)
  }

  /**
   * The adapter in PEFT's format, file by file.
   *
   * @throws InputError where the whole model is trained: there is no adapter then
   */
  async adapter(): Promise<Map<string, Uint8Array>> {
    if (!this.#lora) {
      throw new InputError("this run trains the whole model; set adapter to have one to save")
    }
    const { model } = this.#options
    const tensors = trainedTensors(this.#trained.policy.decoder, this.#lora)
    const pieces: Uint8Array[] = []
    for await (const piece of safetensorsPieces(storedTensors(tensors, "float32"))) {
      pieces.push(piece)
    }
    const json = adapterConfig({ spec: this.#lora, baseModel: model.name })
    return new Map([
      [ADAPTER_CONFIG, new TextEncoder().encode(`${JSON.stringify(json, null, 2)}\n`)],
      [ADAPTER_TENSORS, joined(pieces)],
    ])
  }

  async release(): Promise<void> {
    await this.#events.return({ progress: START, reason: "interrupted" })
    await this.#sampling?.release()
    if (!this.#options.packedBase) await this.#packedBase.release()
    await this.#trained.release()
  }
}

const EMPTY_SOURCE = { dropped: 0, bad: 0, truncated: 0, weight: 1 } as const

/** What a tab cannot do is refused, not passed over. */
function refuse({ config, model }: TabRunOptions): void {
  const { adapter, engine, model_tokens, save_steps, generate_samples } = config
  const problems = [
    ...(engine.name === "onnx" ? [] : [`engine: ${engine.name} is no engine of a browser`]),
    ...(save_steps === 0 ? [] : ["save_steps: a tab saves no checkpoints; set it to 0"]),
    ...(model_tokens.length > 0 ? ["model_tokens: a tab adds none to its model"] : []),
    ...(config.reference === null ? [] : ["reference: a tab holds one model"]),
    ...(config.ema_decay === null ? [] : ["ema_decay: a tab keeps no average of the weights"]),
    ...(config.adapter?.init_lora_weights === "pissa"
      ? ["adapter.init_lora_weights: pissa is not for a tab"]
      : []),
    ...(generate_samples ? ["generate_samples: ask with sample() instead"] : []),
    ...(model.quantization && !adapter
      ? ["quantization: codes cannot be trained; set an adapter"]
      : []),
  ]
  if (problems.length > 0) throw new InputError(problems.join("\n"))
}

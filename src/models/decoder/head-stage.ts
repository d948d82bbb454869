import { assert } from "../../errors.ts"
import { graph } from "../../graph/index.ts"
import {
  type Device,
  type DeviceTensor,
  type Executable,
  float32,
  int64,
} from "../../runtime/index.ts"
import { VALUE_HEAD } from "../block/parameters.ts"
import type { DecoderShape } from "../families/shape.ts"
import { type HeadOptions, headLogits } from "./head.ts"
import type { Pack } from "./pack.ts"
import type { RowOps } from "./rows.ts"
import { headOutputs } from "./score-head.ts"

/** What the objective needs of the head, fixed for a run. */
export type HeadSettings = Omit<HeadOptions, "shape">

/**
 * What the head says of each supervised token, [S] each; of a reward model `score`, `loss` and
 * `weight` alone.
 */
export interface TokenOutputs {
  /** Log-probability of the target, nats. */
  readonly logp: Float32Array
  /** Of the next-token distribution, nats. */
  readonly entropy: Float32Array
  /** 1 where the target is the most likely token. */
  readonly correct: Float32Array
  /** The loss's value, nats. */
  readonly loss: Float32Array
  /** -d loss / d logp. */
  readonly weight: Float32Array
  /** Over the renormalised 20 most likely tokens, where the settings ask for it. */
  readonly topk_entropy?: Float32Array
  /** Of the target under the reference, where there is one. */
  readonly ref_logp?: Float32Array
  /** KL(reference || policy), nats, where there is a reference. */
  readonly kl_ref?: Float32Array
  /**
   * The generalised Jensen-Shannon divergence from the reference, nats, where the settings ask for
   * it.
   */
  readonly jsd_ref?: Float32Array
  /** Of each sequence, where the model is a reward model. */
  readonly score?: Float32Array
  /** What the value head says before each, where the settings ask for it. */
  readonly value?: Float32Array
}

/**
 * A frozen model's final hidden states at the supervised positions, [S, C], and its norm and head.
 */
export interface Reference {
  /** Its own: another model's may be wider, and know more tokens. */
  readonly shape: DecoderShape
  readonly hidden: Float32Array
  readonly norm: DeviceTensor
  readonly head: DeviceTensor
}

/** Per-token inputs of the objective ([S] each), and per-step ones. */
export interface LossInputs {
  /** What each token's loss is multiplied with in the sum; 1 if left out. */
  readonly scale?: Float32Array
  readonly columns?: Readonly<Record<string, Float32Array>>
  readonly scalars?: Readonly<Record<string, number>>
  readonly reference?: Reference
}

/** The same where they are made of what the head says of the pack's tokens: `measure` asks it. */
export type LossInputsAfter = (
  measure: (settings: HeadSettings, inputs: LossInputs) => Promise<TokenOutputs>,
) => Promise<LossInputs>

type Tensors = Record<string, DeviceTensor>

/** Where the head finds its weights and their gradients: in the decoder's maps, by name. */
export interface HeadParameters {
  readonly norm: string
  readonly head: string
  readonly weights: ReadonlyMap<string, DeviceTensor>
  readonly gradients: Map<string, DeviceTensor>
}

/** Final norm, head and loss over the supervised positions, a chunk of them at a time. */
export class HeadStage {
  readonly #device: Device
  readonly #shape: DecoderShape
  readonly #rowOps: RowOps
  readonly #parameters: HeadParameters
  readonly #chunk: number
  /** Settings are told apart by identity: a loss is a function. */
  readonly #compiled = new Map<HeadSettings, Map<boolean, Promise<Executable>>>()

  #logits: Promise<Executable> | undefined

  constructor(
    device: Device,
    options: {
      readonly shape: DecoderShape
      readonly rowOps: RowOps
      readonly parameters: HeadParameters
      /** Number of supervised positions whose logits are in memory at one time. */
      readonly chunk: number
    },
  ) {
    this.#device = device
    this.#shape = options.shape
    this.#rowOps = options.rowOps
    this.#parameters = options.parameters
    this.#chunk = options.chunk
  }

  /** The statistics of every supervised token of `hidden` [T, C]. */
  async evaluate(
    hidden: DeviceTensor,
    pack: Pack,
    settings: HeadSettings,
    inputs: LossInputs,
  ): Promise<TokenOutputs> {
    const outputs = new ColumnCollector(pack.positions.length, this.#shape)
    await this.#eachChunk(
      pack,
      settings,
      { train: false, inputs },
      async (executable, start, end) => {
        const feeds = await this.#feeds(start, end, pack, settings, inputs)
        feeds.hidden = await this.#rowOps.gather(hidden, pack.positions.subarray(start, end))
        const results = await executable.run(feeds)
        await outputs.add(this.#device, executable, results, start)
        this.#dispose(feeds, results)
      },
    )
    return outputs.outputs
  }

  /** Also the gradient of `hidden`; the trained weights' gradients are added to where they live. */
  async train(
    hidden: DeviceTensor,
    pack: Pack,
    settings: HeadSettings,
    given: LossInputs | LossInputsAfter,
  ): Promise<{ readonly outputs: TokenOutputs; readonly dhidden: DeviceTensor }> {
    const measure = (asked: HeadSettings, fed: LossInputs) =>
      this.evaluate(hidden, pack, asked, fed)
    const inputs = typeof given === "function" ? await given(measure) : given
    const { norm, head, gradients } = this.#parameters
    const outputs = new ColumnCollector(pack.positions.length, this.#shape)
    let dhidden = await this.#device.upload(float32(hidden.shape))
    await this.#eachChunk(
      pack,
      settings,
      { train: true, inputs },
      async (executable, start, end) => {
        const feeds = await this.#feeds(start, end, pack, settings, inputs)
        const positions = pack.positions.subarray(start, end)
        feeds.hidden = await this.#rowOps.gather(hidden, positions)
        const into: Tensors = {}
        for (const [name, key] of [
          [norm, "norm.weight"],
          [head, "head.weight"],
          [VALUE_HEAD, "value.weight"],
        ] as const) {
          const gradient = gradients.get(name)
          if (!gradient || (name === VALUE_HEAD && !settings.value)) continue
          feeds[`acc.${key}`] = gradient
          into[`grad.${key}`] = gradient
        }
        const results = await executable.run(feeds, { into })
        await outputs.add(this.#device, executable, results, start)
        if (results["grad.norm.weight"]) gradients.set(norm, results["grad.norm.weight"])
        if (results["grad.value.weight"]) gradients.set(VALUE_HEAD, results["grad.value.weight"])
        if (results["grad.head.weight"]) {
          const sum = results["grad.head.weight"]
          const labels = pack.labels.subarray(start, end)
          const { label_rows } = results
          gradients.set(
            head,
            label_rows ? await this.#rowOps.scatterAdd(sum, labels, label_rows) : sum,
          )
        }
        dhidden = await this.#rowOps.scatterAdd(dhidden, positions, results.dhidden!)
        this.#dispose(feeds, results)
      },
    )
    return { outputs: outputs.outputs, dhidden }
  }

  /**
   * The logits at the pack's positions, [rows, V] of a chunk at a time, from position `start` on.
   */
  async eachLogits(
    hidden: DeviceTensor,
    pack: Pack,
    body: (logits: Float32Array, start: number) => void,
  ): Promise<void> {
    const { norm, head, weights } = this.#parameters
    this.#logits ??= this.#device.compile(graph("head.logits", headLogits(this.#shape)))
    const executable = await this.#logits
    for (let start = 0; start < pack.positions.length; start += this.#chunk) {
      const positions = pack.positions.subarray(start, start + this.#chunk)
      const feeds: Tensors = {
        "norm.weight": weights.get(norm)!,
        "head.weight": weights.get(head)!,
        hidden: await this.#rowOps.gather(hidden, positions),
      }
      const results = await executable.run(feeds)
      const { data } = await this.#device.download(results.logits!)
      body(data as Float32Array, start)
      this.#dispose(feeds, results)
    }
  }

  async release(): Promise<void> {
    if (this.#logits) await (await this.#logits).release()
    for (const ofSettings of this.#compiled.values()) {
      for (const made of ofSettings.values()) await (await made).release()
    }
  }

  /** Everything of a chunk but the weights and their gradients, which live on. */
  #dispose(feeds: Tensors, results: Tensors): void {
    const lasting = /^(acc\.|grad\.|ref\.norm|ref\.head|norm\.|head\.|value\.)/
    for (const [name, tensor] of [...Object.entries(feeds), ...Object.entries(results)]) {
      if (!lasting.test(name)) tensor.dispose()
    }
  }

  async #eachChunk(
    pack: Pack,
    settings: HeadSettings,
    { train, inputs }: { readonly train: boolean; readonly inputs: LossInputs },
    body: (executable: Executable, start: number, end: number) => Promise<void>,
  ): Promise<void> {
    const count = pack.positions.length
    if (count === 0) return
    const rows = Math.ceil(count / Math.ceil(count / this.#chunk))
    const executable = await this.#executable(settings, train, inputs.reference)
    for (let start = 0; start < count; start += rows) {
      await body(executable, start, Math.min(count, start + rows))
    }
  }

  /** Of one reference at most, as long as the settings are used. */
  #executable(
    settings: HeadSettings,
    train: boolean,
    reference: Reference | undefined,
  ): Promise<Executable> {
    const { norm, head, gradients } = this.#parameters
    const ofSettings = this.#compiled.get(settings) ?? new Map<boolean, Promise<Executable>>()
    this.#compiled.set(settings, ofSettings)
    const known = ofSettings.get(train)
    if (known) return known
    const options: HeadOptions = {
      ...{ shape: this.#shape, ...settings },
      ...(reference ? { referenceShape: reference.shape } : {}),
    }
    const training = {
      norm: gradients.has(norm),
      head: gradients.has(head),
      value: gradients.has(VALUE_HEAD),
    }
    const outputs = headOutputs(options, train ? training : undefined)
    const made = this.#device.compile(graph("head", outputs))
    ofSettings.set(train, made)
    return made
  }

  async #feeds(
    start: number,
    end: number,
    pack: Pack,
    settings: HeadSettings,
    inputs: LossInputs,
  ): Promise<Tensors> {
    const { norm, head, weights } = this.#parameters
    const rows = end - start
    const column = (values: Float32Array) =>
      this.#device.upload(float32([rows, 1], values.slice(start, end)))
    const feeds: Tensors = {
      "norm.weight": weights.get(norm)!,
      "head.weight": weights.get(head)!,
      scale: await column(inputs.scale ?? new Float32Array(end).fill(1)),
    }
    if (settings.value) feeds["value.weight"] = weights.get(VALUE_HEAD)!
    if (!this.#shape.scores) {
      const labels = int64([rows, 1], pack.labels.slice(start, end))
      feeds.labels = await this.#device.upload(labels)
    }
    for (const name of settings.columns ?? []) {
      const values = inputs.columns?.[name]
      assert(values, `the objective's input ${name} was not given`)
      feeds[name] = await column(values)
    }
    for (const name of settings.scalars ?? []) {
      const value = inputs.scalars?.[name]
      assert(value !== undefined, `the objective's input ${name} was not given`)
      feeds[name] = await this.#device.upload(float32([], Float32Array.of(value)))
    }
    if (settings.reference) {
      const { reference } = inputs
      assert(reference, "the objective's reference was not given")
      const C = reference.shape.hiddenSize
      const hidden = reference.hidden.slice(start * C, end * C)
      feeds["ref.hidden"] = await this.#device.upload(float32([rows, C], hidden))
      feeds["ref.norm.weight"] = reference.norm
      feeds["ref.head.weight"] = reference.head
    }
    return feeds
  }
}

/** Per-token outputs of all chunks, put together. */
class ColumnCollector {
  readonly #columns: Record<string, Float32Array>
  readonly #count: number

  constructor(count: number, { scores }: DecoderShape) {
    this.#count = count
    // Without a supervised token nothing runs.
    const always = [...(scores ? ["score"] : ["logp", "entropy", "correct"]), "loss", "weight"]
    this.#columns = Object.fromEntries(always.map((name) => [name, new Float32Array(count)]))
  }

  get outputs(): TokenOutputs {
    return this.#columns as unknown as TokenOutputs
  }

  async add(device: Device, { graph }: Executable, results: Tensors, start: number) {
    for (const { name, shape } of graph.outputs) {
      if (shape[1] !== 1 || name.startsWith("grad.")) continue
      const { data } = await device.download(results[name]!)
      this.#columns[name] ??= new Float32Array(this.#count)
      this.#columns[name].set(data as Float32Array, start)
    }
  }
}

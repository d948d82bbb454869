import type { KeepLevel } from "../graph/index.ts"
import { graph } from "../graph/index.ts"
import { assert } from "../run/errors.ts"
import {
  type Device,
  type DeviceTensor,
  type Executable,
  float32,
  type HostTensor,
  int64,
} from "../runtime/index.ts"
import type { LoraInputs } from "./block.ts"
import { type HeadOptions, headBackward, headForward } from "./head.ts"
import { bucket, type Pack, packLayout } from "./pack.ts"
import { layerPrefix } from "./parameters.ts"
import { ropeTables } from "./rope.ts"
import { RowOps } from "./rows.ts"
import type { DecoderShape } from "./shape.ts"
import { adapterShapes, blockForward, blockGraphs } from "./stages.ts"

export const EMBEDDING = "model.embed_tokens.weight"
export const FINAL_NORM = "model.norm.weight"
export const HEAD = "lm_head.weight"

export type LossFunction = HeadOptions["loss"]

/** What the objective needs of the head, fixed for a run. */
export interface HeadSettings {
  readonly loss: LossFunction
  readonly columns?: readonly string[]
  readonly scalars?: readonly string[]
  readonly topkEntropy?: boolean
  readonly reference?: boolean
}

export interface DecoderOptions {
  readonly device: Device
  readonly shape: DecoderShape
  /** By the checkpoint's names, float32. Used as they are: training updates them in place. */
  readonly weights: ReadonlyMap<string, HostTensor>
  /** With an adapter, its matrices are in `weights` too (PEFT's names below each layer), and only they are trained. */
  readonly lora?: LoraInputs | undefined
  /** Most tokens in a micro-batch. */
  readonly capacity: number
  /** Supervised positions whose logits exist at once. */
  readonly headRows?: number
  /** What layer l keeps for its backward. */
  readonly keep?: (layer: number) => KeepLevel
}

/** Numbers per supervised token, each [S], by name (`logp`, `entropy`, `correct`, `loss`, `weight`, ...). */
export type TokenStatistics = Readonly<Record<string, Float32Array>>

/** Per-token inputs of the objective ([S] each), and per-step ones. */
export interface LossInputs {
  /** What each token's loss is multiplied with in the sum; 1 if left out. */
  readonly scale?: Float32Array
  readonly columns?: Readonly<Record<string, Float32Array>>
  readonly scalars?: Readonly<Record<string, number>>
  /** The reference's final hidden states at the supervised positions, [S, C], and its norm and head. */
  readonly reference?: Reference
}

export interface Reference {
  readonly hidden: Float32Array
  readonly norm: DeviceTensor
  readonly head: DeviceTensor
}

interface BlockExecutables {
  readonly forward: Executable
  readonly backward: Executable
  readonly saved: readonly string[]
}

type Tensors = Record<string, DeviceTensor>

/** What a forward pass leaves for the backward. */
interface Activations {
  readonly tokens: number
  readonly pack: Tensors
  /** Each layer's input, then the last one's output. */
  readonly states: readonly DeviceTensor[]
  readonly saved: readonly Tensors[]
}

/**
 * A decoder on a device: embedding, blocks, head with the loss. All blocks share their compiled
 * graphs. Gradients of sums accumulate in `gradients` until `zeroGradients`.
 */
export class Decoder {
  readonly shape: DecoderShape
  readonly device: Device
  readonly weights: ReadonlyMap<string, DeviceTensor>
  /** The trained tensors' gradients, by name. */
  readonly gradients: Map<string, DeviceTensor>
  readonly #options: Required<Omit<DecoderOptions, "lora" | "weights">> &
    Pick<DecoderOptions, "lora">
  readonly #rows: RowOps
  readonly #compiled = new Map<string, Promise<Executable | BlockExecutables>>()
  /** Settings are told apart by identity: a loss is a function. */
  readonly #headIds = new Map<HeadSettings, number>()
  readonly #pool = new Map<string, DeviceTensor>()

  private constructor(
    options: DecoderOptions,
    weights: ReadonlyMap<string, DeviceTensor>,
    gradients: Map<string, DeviceTensor>,
  ) {
    this.shape = options.shape
    this.device = options.device
    this.weights = weights
    this.gradients = gradients
    this.#options = { headRows: 256, keep: () => "products", ...options }
    this.#rows = new RowOps(options.device)
  }

  /** `trained: false` makes a decoder without gradients: evaluation, a frozen reference. */
  static async open(options: DecoderOptions, { trained = true } = {}): Promise<Decoder> {
    const weights = new Map<string, DeviceTensor>()
    for (const [name, host] of options.weights) {
      weights.set(name, await options.device.upload(host))
    }
    const gradients = new Map<string, DeviceTensor>()
    for (const name of trained ? trainedNames(options) : []) {
      const { shape } = options.weights.get(name)!
      gradients.set(name, await options.device.upload(float32(shape)))
    }
    return new Decoder(options, weights, gradients)
  }

  get headWeight(): DeviceTensor {
    return this.weights.get(this.#headName)!
  }
  get normWeight(): DeviceTensor {
    return this.weights.get(FINAL_NORM)!
  }
  get #headName(): string {
    return this.shape.tieWordEmbeddings ? EMBEDDING : HEAD
  }

  /** The final hidden states (before the last norm) at `positions`, [S, C], row major. */
  async hiddenStates(pack: Pack, { adapter = true } = {}): Promise<Float32Array> {
    const { states } = await this.#forward(pack, { keep: false, adapter })
    const last = await this.device.download(states[states.length - 1]!)
    return rowsAt(last.data as Float32Array, pack.positions, this.shape.hiddenSize)
  }

  /** The statistics of every supervised token; no gradients. */
  async evaluate(
    pack: Pack,
    settings: HeadSettings,
    inputs: LossInputs = {},
  ): Promise<TokenStatistics> {
    const { states } = await this.#forward(pack, { keep: false, adapter: true })
    return (await this.#head(states[states.length - 1]!, pack, settings, inputs, false)).statistics
  }

  /** Forward and backward of one micro-batch; gradients of the scaled sum are added to `gradients`. */
  async train(
    pack: Pack,
    settings: HeadSettings,
    inputs: LossInputs = {},
  ): Promise<TokenStatistics> {
    const activations = await this.#forward(pack, { keep: true, adapter: true })
    const last = activations.states[activations.states.length - 1]!
    const { statistics, dhidden } = await this.#head(last, pack, settings, inputs, true)
    await this.#backward(activations, dhidden!, pack)
    return statistics
  }

  async zeroGradients(): Promise<void> {
    for (const [name, gradient] of this.gradients) {
      if (gradient.data) (gradient.data as Float32Array).fill(0)
      else {
        gradient.dispose()
        this.gradients.set(name, await this.device.upload(float32(gradient.shape)))
      }
    }
  }

  async release(): Promise<void> {
    for (const made of this.#compiled.values()) {
      const executables = await made
      if ("run" in executables) await executables.release()
      else await Promise.all([executables.forward.release(), executables.backward.release()])
    }
    for (const tensor of [...this.weights.values(), ...this.gradients.values()]) tensor.dispose()
    for (const tensor of this.#pool.values()) tensor.dispose()
  }

  async #packTensors(pack: Pack): Promise<{ tokens: number; tensors: Tensors }> {
    const tokens = bucket(pack.tokenIds.length, this.#options.capacity)
    const layout = packLayout(pack.lengths, tokens)
    const longest = Math.max(...pack.lengths)
    const tables = ropeTables(this.shape, longest)
    const half = this.shape.headDim / 2
    const upload = (host: HostTensor) => this.device.upload(host)
    const at = (table: Float32Array) =>
      float32([tokens, half], rowsAt(table, layout.positionIds, half))
    return {
      tokens,
      tensors: {
        cos: await upload(at(tables.cos)),
        sin: await upload(at(tables.sin)),
        segments: await upload(int64([tokens], layout.segments)),
        key_begins: await upload(int64([layout.keyBegins.length], layout.keyBegins)),
      },
    }
  }

  /** A layer's tensors by their names inside a block. */
  #layer(source: ReadonlyMap<string, DeviceTensor>, layer: number, prefix = ""): Tensors {
    const start = layerPrefix(layer)
    const found: Tensors = {}
    for (const [name, tensor] of source) {
      if (name.startsWith(start)) found[prefix + name.slice(start.length)] = tensor
    }
    return found
  }

  async #forward(
    pack: Pack,
    { keep, adapter }: { keep: boolean; adapter: boolean },
  ): Promise<Activations> {
    assert(pack.tokenIds.length > 0, "an empty pack")
    const { tokens, tensors } = await this.#packTensors(pack)
    const embedding = this.weights.get(EMBEDDING)!
    const states = [await this.#rows.gather(embedding, pack.tokenIds, tokens)]
    const saved: Tensors[] = []
    for (let layer = 0; layer < this.shape.numHiddenLayers; layer++) {
      const feeds = {
        x: states[states.length - 1]!,
        ...tensors,
        ...this.#layer(this.weights, layer),
      }
      if (!keep) {
        const { y } = await (await this.#plainBlock(tokens, adapter)).run(feeds)
        states.splice(0, 1, y!)
        continue
      }
      const executables = await this.#block(tokens, this.#options.keep(layer))
      const results = await executables.forward.run(feeds, {
        into: await this.#pooled(executables.forward, `${tokens} ${layer}`),
      })
      states.push(results.y!)
      saved.push(Object.fromEntries(executables.saved.map((name) => [name, results[name]!])))
    }
    return { tokens, pack: tensors, states, saved }
  }

  /** Buffers for results of fixed shape, kept from step to step so that memory does not grow. */
  async #pooled(executable: Executable, owner: string): Promise<Tensors> {
    if (this.device.kind !== "cpu") return {}
    const into: Tensors = {}
    for (const { name, dtype, shape } of executable.graph.outputs) {
      if (dtype !== "f32" || shape.some((dim) => typeof dim === "string")) continue
      const key = `${owner} ${name}`
      const known = this.#pool.get(key) ?? (await this.device.upload(float32(shape as number[])))
      this.#pool.set(key, known)
      into[name] = known
    }
    return into
  }

  async #backward(
    { tokens, pack, states, saved }: Activations,
    dhidden: DeviceTensor,
    { tokenIds }: Pack,
  ) {
    let dy = dhidden
    for (let layer = this.shape.numHiddenLayers - 1; layer >= 0; layer--) {
      const { backward } = await this.#block(tokens, this.#options.keep(layer))
      const gradients = this.#layer(this.gradients, layer, "acc.")
      const into: Tensors = await this.#pooled(backward, `${tokens} back ${layer % 2}`)
      for (const [name, tensor] of Object.entries(gradients)) {
        into[name.replace("acc.", "grad.")] = tensor
      }
      const results = await backward.run(
        {
          x: states[layer]!,
          dy,
          ...pack,
          ...this.#layer(this.weights, layer),
          ...gradients,
          ...saved[layer],
        },
        { into },
      )
      for (const name of Object.keys(gradients)) {
        const key = name.replace("acc.", "")
        this.gradients.set(layerPrefix(layer) + key, results[`grad.${key}`]!)
      }
      dy = results.dx!
    }
    const embedding = this.gradients.get(EMBEDDING)
    if (embedding) {
      this.gradients.set(EMBEDDING, await this.#rows.scatterAdd(embedding, tokenIds, dy))
    }
  }

  /** The loss over the supervised positions, chunk by chunk; with `train`, the gradient of the hidden states. */
  async #head(
    hidden: DeviceTensor,
    pack: Pack,
    settings: HeadSettings,
    inputs: LossInputs,
    train: boolean,
  ): Promise<{ statistics: TokenStatistics; dhidden?: DeviceTensor }> {
    const { hiddenSize: C } = this.shape
    const count = pack.positions.length
    const rows = Math.min(
      this.#options.headRows,
      Math.max(8, 2 ** Math.ceil(Math.log2(count || 1))),
    )
    const executable = await this.#headExecutable(rows, settings, train)
    const collected = new Map<string, Float32Array>()
    let dhidden = train ? await this.device.upload(float32(hidden.shape)) : undefined
    for (let start = 0; start < count; start += rows) {
      const end = Math.min(count, start + rows)
      const positions = pack.positions.subarray(start, end)
      const labels = pack.labels.subarray(start, end)
      const feeds = await this.#headFeeds(rows, start, end, pack, settings, inputs)
      feeds.hidden = await this.#rows.gather(hidden, positions, rows)
      const into: Tensors = {}
      if (train) this.#headGradients(feeds, into)
      const results = await executable.run(feeds, { into })
      for (const { name, shape } of executable.graph.outputs) {
        if (shape[1] !== 1 || name.startsWith("grad.")) continue
        const values = collected.get(name) ?? new Float32Array(count)
        const host = await this.device.download(results[name]!)
        values.set((host.data as Float32Array).subarray(0, end - start), start)
        collected.set(name, values)
      }
      if (!train) continue
      for (const name of [FINAL_NORM, this.#headName]) {
        const key = name === FINAL_NORM ? "grad.norm.weight" : "grad.head.weight"
        if (results[key]) this.gradients.set(name, results[key])
      }
      const head = this.gradients.get(this.#headName)
      if (head && results.label_rows) {
        this.gradients.set(
          this.#headName,
          await this.#rows.scatterAdd(head, labels, results.label_rows),
        )
      }
      dhidden = await this.#rows.scatterAdd(dhidden!, positions, results.dhidden!)
    }
    assert(hidden.shape[1] === C, "hidden states of another width")
    const statistics = Object.fromEntries(collected)
    return dhidden ? { statistics, dhidden } : { statistics }
  }

  async #headFeeds(
    rows: number,
    start: number,
    end: number,
    pack: Pack,
    settings: HeadSettings,
    inputs: LossInputs,
  ): Promise<Tensors> {
    const column = (values: Float32Array | undefined, otherwise: number) => {
      const filled = new Float32Array(rows)
      if (values) filled.set(values.subarray(start, end))
      else filled.fill(otherwise, 0, end - start)
      return this.device.upload(float32([rows, 1], filled))
    }
    const labels = new Int32Array(rows)
    labels.set(pack.labels.subarray(start, end))
    const feeds: Tensors = {
      "norm.weight": this.normWeight,
      "head.weight": this.headWeight,
      labels: await this.device.upload(int64([rows, 1], labels)),
      scale: await column(inputs.scale, 1),
    }
    for (const name of settings.columns ?? []) {
      const values = inputs.columns?.[name]
      assert(values, `the objective's input ${name} was not given`)
      feeds[name] = await column(values, 0)
    }
    for (const name of settings.scalars ?? []) {
      const value = inputs.scalars?.[name]
      assert(value !== undefined, `the objective's input ${name} was not given`)
      feeds[name] = await this.device.upload(float32([], Float32Array.of(value)))
    }
    if (settings.reference) {
      const { reference } = inputs
      assert(reference, "the objective's reference was not given")
      const C = this.shape.hiddenSize
      const filled = new Float32Array(rows * C)
      filled.set(reference.hidden.subarray(start * C, end * C))
      feeds["ref.hidden"] = await this.device.upload(float32([rows, C], filled))
      feeds["ref.norm.weight"] = reference.norm
      feeds["ref.head.weight"] = reference.head
    }
    return feeds
  }

  #headGradients(feeds: Tensors, into: Tensors): void {
    const norm = this.gradients.get(FINAL_NORM)
    const head = this.gradients.get(this.#headName)
    if (norm) {
      feeds["acc.norm.weight"] = norm
      into["grad.norm.weight"] = norm
    }
    if (head) {
      feeds["acc.head.weight"] = head
      into["grad.head.weight"] = head
    }
  }

  async #once<T extends Executable | BlockExecutables>(
    key: string,
    make: () => Promise<T>,
  ): Promise<T> {
    const known = this.#compiled.get(key) as Promise<T> | undefined
    if (known) return known
    const made = make()
    this.#compiled.set(key, made)
    return made
  }

  #block(tokens: number, level: KeepLevel): Promise<BlockExecutables> {
    return this.#once(`block ${tokens} ${level}`, async () => {
      const { lora, shape } = this.#options
      const graphs = blockGraphs({ shape, tokens, lora }, level)
      return {
        forward: await this.device.compile(graphs.forward),
        backward: await this.device.compile(graphs.backward),
        saved: graphs.saved,
      }
    })
  }

  #plainBlock(tokens: number, adapter: boolean): Promise<Executable> {
    const { shape } = this.#options
    const lora = adapter ? this.#options.lora : undefined
    return this.#once(`forward ${tokens} ${lora !== undefined}`, () =>
      this.device.compile(blockForward({ shape, tokens, lora })),
    )
  }

  #headExecutable(rows: number, settings: HeadSettings, train: boolean): Promise<Executable> {
    const id = this.#headIds.get(settings) ?? this.#headIds.size
    this.#headIds.set(settings, id)
    return this.#once(`head ${rows} ${id} ${train}`, () => {
      const options: HeadOptions = { shape: this.shape, rows, ...settings }
      const training = {
        norm: this.gradients.has(FINAL_NORM),
        head: this.gradients.has(this.#headName),
      }
      const outputs = train ? headBackward(options, training) : headForward(options)
      return this.device.compile(graph("head", outputs))
    })
  }
}

/** Rows `positions` of a row-major matrix with `columns` columns. */
export function rowsAt(matrix: Float32Array, positions: Int32Array, columns: number): Float32Array {
  const result = new Float32Array(positions.length * columns)
  positions.forEach((row, i) => {
    result.set(matrix.subarray(row * columns, (row + 1) * columns), i * columns)
  })
  return result
}

/** Which tensors training changes: the adapter's, or all. */
export function trainedNames({ shape, weights, lora }: DecoderOptions): string[] {
  if (!lora) return [...weights.keys()]
  const names = [...adapterShapes({ shape, tokens: 1, lora }).keys()]
  return Array.from({ length: shape.numHiddenLayers }, (_, layer) =>
    names.map((name) => layerPrefix(layer) + name),
  ).flat()
}

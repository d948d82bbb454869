import type { Tensor as OrtTensor } from "onnxruntime-common"
import { assert, InputError } from "../../errors.ts"
import { type DType, type Graph, overwriteProblem, type Port } from "../../graph/index.ts"
import type { DeviceTensor, Executable, Feeds, RunOptions } from "../device.ts"
import type { Target } from "./lowering.ts"
import { explain } from "./onnx-errors.ts"
import type { Session } from "./onnx-session.ts"
import { hostTensor, isOnnxTensor, type OnnxTensor, remoteTensor } from "./onnx-tensor.ts"
import { storedAs } from "./storage.ts"

/**
 * What a run or a session is given for an input.
 *
 * @throws InputError where it is missing, or of another type or shape
 */
export function checkFeed(graph: Graph, port: Port, fed: DeviceTensor | undefined): OnnxTensor {
  if (!isOnnxTensor(fed)) {
    throw new InputError(`${graph.name}: the input ${port.name} was not given`)
  }
  const fits =
    fed.dtype === port.dtype &&
    fed.shape.length === port.shape.length &&
    port.shape.every((dim, i) => typeof dim === "string" || dim === fed.shape[i])
  if (!fits) {
    throw new InputError(
      `${graph.name}: the input ${port.name} must be ${port.dtype} [${port.shape}], ` +
        `got ${fed.dtype} [${fed.shape}]`,
    )
  }
  return fed
}

/** Makes the session that takes some of a graph's inputs packed; called once for each set. */
export type Sessions = (packed: ReadonlySet<string>) => Promise<Session>

/** A compiled graph, with a session for each set of inputs that come packed. */
export class OnnxExecutable implements Executable {
  readonly graph: Graph
  readonly #sessions = new Map<string, Promise<Session>>()
  readonly #make: Sessions
  readonly #target: Target
  readonly #stored: ReadonlyMap<string, DType>
  /** Inputs that the session was made with; undefined where only its own packed copy is read. */
  readonly #held: ReadonlyMap<string, OnnxTensor | undefined>
  /** Inputs that every run is given. */
  readonly #fed: Feeds
  readonly #keepsInputs: boolean
  /** Pairs of an input and an output that were found to be safe in one place. */
  readonly #inPlace = new Set<string>()

  constructor(
    graph: Graph,
    make: Sessions,
    target: Target,
    {
      held = new Map(),
      fed = {},
      keepsInputs = false,
    }: {
      readonly held?: ReadonlyMap<string, OnnxTensor | undefined>
      readonly fed?: Feeds
      readonly keepsInputs?: boolean
    },
  ) {
    this.#keepsInputs = keepsInputs
    this.graph = graph
    this.#make = make
    this.#target = target
    this.#held = held
    this.#fed = fed
    this.#stored = storedAs(graph, target)
  }

  async run(feeds: Feeds, { into = {}, signal }: RunOptions = {}) {
    signal?.throwIfAborted()
    const inputs: Record<string, OrtTensor> = {}
    const packed: string[] = []
    for (const port of this.graph.inputs) {
      if (this.#held.has(port.name)) continue
      const stored = this.#stored.get(port.name) ?? port.dtype
      const fed = checkFeed(this.graph, port, feeds[port.name] ?? this.#fed[port.name])
      if (fed.isPacked) packed.push(port.name)
      inputs[port.name] = fed.ort(stored)
    }
    const inPlace = this.#target === "cpu"
    if (inPlace) this.#checkInto(feeds, into)
    const read = new Set(this.#keepsInputs ? Object.values(feeds).map(({ data }) => data) : [])
    const fetches: Record<string, OrtTensor | null> = {}
    for (const { name, dtype } of this.graph.outputs) {
      const target = into[name]
      const isFree = inPlace && isOnnxTensor(target) && !read.has(target.data)
      fetches[name] = isFree ? target.ort(dtype) : null
    }
    const session = await this.session(packed)
    const results = await session.run(inputs, fetches).catch((error: unknown) => {
      throw explain(this.graph, error)
    })
    if (!inPlace) for (const old of Object.values(into)) old.dispose()
    const outputs: Record<string, DeviceTensor> = {}
    for (const { name, dtype } of this.graph.outputs) {
      const made = results[name] as OrtTensor
      if (inPlace && into[name] && !fetches[name]) write(into[name], made)
      if (inPlace) outputs[name] = into[name] ?? hostTensor(made)
      else outputs[name] = remoteTensor(made, dtype)
    }
    return outputs
  }

  /** An input given as an output must not be read after it is written. */
  #checkInto(feeds: Feeds, into: Feeds): void {
    for (const { name: output } of this.graph.outputs) {
      const target = into[output]
      if (!target) continue
      for (const { name } of this.graph.inputs) {
        if (feeds[name]?.data !== target.data) continue
        const pair = `${name} ${output}`
        if (this.#inPlace.has(pair)) continue
        const problem = overwriteProblem(this.graph, name, output)
        assert(!problem, `${this.graph.name}: ${output} into its input ${name}: ${problem}`)
        this.#inPlace.add(pair)
      }
    }
  }

  /** The session for inputs of which some come packed. */
  session(packed: readonly string[] = []): Promise<Session> {
    const key = packed.join("\n")
    const known = this.#sessions.get(key) ?? this.#make(new Set(packed))
    this.#sessions.set(key, known)
    return known
  }

  async release(): Promise<void> {
    for (const session of this.#sessions.values()) await (await session).release()
    for (const tensor of Object.values(this.#fed)) tensor.dispose()
  }
}

function write({ data }: DeviceTensor, { data: made }: OrtTensor): void {
  ;(data as Float32Array).set(made as Float32Array)
}

/** What updates of every element alike have in common: chunks, scalars, graphs by rank. */
import { type Graph, input, type Tensor } from "../graph/index.ts"
import { type Device, type DeviceTensor, type Executable, float32 } from "../runtime/index.ts"

type MomentName = "first" | "second"

/** Inputs of a graph. Outputs have the whole names, and no graph may call both the same. */
const INPUTS = { parameter: "p", gradient: "g", first: "m", second: "v" } as const

/** A parameter with its gradient and moments, all float32 of one shape, on the device. */
export type UpdateTensors<Moment extends MomentName> = Readonly<
  Record<"parameter" | "gradient" | Moment, DeviceTensor>
>

/** The same as arrays of the host. */
export type UpdateArrays<Moment extends MomentName> = Readonly<
  Record<"parameter" | "gradient" | Moment, Float32Array>
>

export interface UpdateStep {
  /** From 1. */
  readonly step: number
  readonly learningRate: number
  /** What the accumulated gradient is multiplied with: 1 / count, times the clipping factor. */
  readonly gradientScale: number
  /** Whether weight decay applies to this parameter. */
  readonly decay: boolean
  /** In place of the optimizer's own. */
  readonly weightDecay?: number | undefined
}

/** One that remembers more can stand for one that remembers less. */
export interface ElementwiseUpdate<Moment extends MomentName> {
  /** What it remembers of each parameter, by name. */
  readonly moments: readonly MomentName[]
  /**
   * One update. In place on the CPU; elsewhere the given parameter and moments are disposed of
   * when new ones take their place: go on with what is returned.
   */
  update(
    tensors: UpdateTensors<Moment>,
    step: UpdateStep,
  ): Promise<Readonly<Record<"parameter" | Moment, DeviceTensor>>>
  release(): Promise<void>
}

export interface UpdateRule<Moment extends MomentName, Scalar extends string> {
  readonly moments: readonly Moment[]
  /** The numbers of a step that are the same for all elements. */
  readonly scalars: (step: UpdateStep) => Readonly<Record<Scalar, number>>
  /** To the new parameter and moments, as outputs named `parameter`, `first`, `second`. */
  readonly graph: (
    tensors: Readonly<Record<"parameter" | "gradient" | Moment, Tensor>>,
    scalars: Readonly<Record<Scalar, Tensor>>,
  ) => Graph
  /** The same in place, where the host has a way of its own. */
  readonly onHost?: (
    arrays: UpdateArrays<Moment>,
    scalars: Readonly<Record<Scalar, number>>,
  ) => Promise<void>
}

/** Elements of one run: few enough that intermediates stay in cache, many enough to pay for it. */
const CHUNK = 262_144

/** Compiles an update for a device. `names` are the rule's scalars. */
export function elementwiseUpdate<Moment extends MomentName, Scalar extends string>(
  device: Device,
  names: readonly Scalar[],
  rule: UpdateRule<Moment, Scalar>,
): ElementwiseUpdate<Moment> {
  const kept = ["parameter", ...rule.moments] as const
  const all = ["gradient", ...kept] as const
  type Kept = "parameter" | Moment
  type Every = "gradient" | Kept
  const compiled = new Map<number, Promise<Executable>>()
  const executable = (rank: number) => {
    const shape = Array.from({ length: rank }, (_, axis) => `n${axis}`)
    const tensors = byName(all, (name) => input(INPUTS[name], shape))
    const scalars = byName(names, (name) => input(name, []))
    const known = compiled.get(rank) ?? device.compile(rule.graph(tensors, scalars))
    compiled.set(rank, known)
    return known
  }
  const run = async (tensors: UpdateTensors<Moment>, scalars: Record<string, DeviceTensor>) => {
    const update = await executable(tensors.parameter.shape.length)
    const into = byName(kept, (name) => tensors[name])
    const feeds = all.map((name) => [INPUTS[name], tensors[name]] as const)
    return update.run({ ...scalars, ...Object.fromEntries(feeds) }, { into })
  }

  return {
    moments: rule.moments,
    async update(tensors, step) {
      const numbers = rule.scalars(step)
      if (rule.onHost && tensors.parameter.data !== undefined) {
        const arrays = byName<Every, Float32Array>(
          all,
          (name) => tensors[name].data as Float32Array,
        )
        await rule.onHost(arrays, numbers)
        return byName<Kept, DeviceTensor>(kept, (name) => tensors[name])
      }
      const scalars: Record<string, DeviceTensor> = {}
      for (const name of names) {
        scalars[name] = await device.upload(float32([], Float32Array.of(numbers[name])))
      }
      if (tensors.parameter.data !== undefined) {
        for (const chunk of await chunksOf<Every>(device, all, tensors)) await run(chunk, scalars)
        return byName<Kept, DeviceTensor>(kept, (name) => tensors[name])
      }
      const updated = await run(tensors, scalars)
      for (const scalar of Object.values(scalars)) scalar.dispose()
      return byName<Kept, DeviceTensor>(kept, (name) => updated[name]!)
    },
    async release() {
      for (const each of compiled.values()) await (await each).release()
    },
  }
}

const byName = <Name extends string, Value>(
  names: readonly Name[],
  of: (name: Name) => Value,
): Record<Name, Value> =>
  Object.fromEntries(names.map((name) => [name, of(name)])) as Record<Name, Value>

/** Views of the host arrays, CHUNK elements each and the rest; nothing is copied. */
async function chunksOf<Name extends string>(
  device: Device,
  names: readonly Name[],
  tensors: Readonly<Record<Name | "parameter", DeviceTensor>>,
): Promise<Record<Name, DeviceTensor>[]> {
  const pieces: Record<Name, DeviceTensor>[] = []
  for (let start = 0; start < tensors.parameter.data!.length; start += CHUNK) {
    const views = names.map(async (name) => {
      const data = (tensors[name].data as Float32Array).subarray(start, start + CHUNK)
      return [name, await device.upload({ dtype: "f32", shape: [data.length], data })] as const
    })
    pieces.push(Object.fromEntries(await Promise.all(views)) as Record<Name, DeviceTensor>)
  }
  return pieces
}

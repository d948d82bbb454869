import { progressMeter } from "../report/progress.ts"

/** Something that is read, or made, when its turn to be written comes. */
type OnDemand =
  | { readonly read: () => Promise<Float32Array> }
  | { readonly data: Uint8Array | (() => Uint8Array | Promise<Uint8Array>) }

/** The same tensors, which tell of each that is asked for. */
export function counted<T extends OnDemand>(
  tensors: readonly T[],
  what: string,
  show: (message: string) => void,
): T[] {
  const meter = progressMeter(what, { unit: "tensors" })
  let done = 0
  const told = <V>(value: V): V => {
    show(meter(++done, tensors.length))
    return value
  }
  return tensors.map((tensor) => {
    if ("read" in tensor) return { ...tensor, read: async () => told(await tensor.read()) }
    const { data } = tensor
    return { ...tensor, data: async () => told(typeof data === "function" ? await data() : data) }
  })
}

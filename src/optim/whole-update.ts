/** What updates of whole matrices have in common: sums over rows and columns, products. */
import type { DeviceTensor } from "../runtime/index.ts"
import type { UpdateStep } from "./elementwise.ts"

/** What is remembered of a tensor, by name. */
export type WholeState = Readonly<Record<string, DeviceTensor>>

/** A parameter with its gradient and what is remembered of it, all float32 on the device. */
export interface WholeTensors {
  readonly parameter: DeviceTensor
  readonly gradient: DeviceTensor
  readonly state: WholeState
}

/** An update that looks at a whole tensor at once. */
export interface WholeUpdate {
  /** Shapes of what it remembers of a tensor, by name. */
  stateShapes(shape: readonly number[]): Readonly<Record<string, readonly number[]>>
  /**
   * One update, the parameter in place on the CPU. What is given is disposed of where new tensors
   * take its place: go on with what is returned.
   */
  update(
    tensors: WholeTensors,
    step: UpdateStep,
  ): Promise<{ readonly parameter: DeviceTensor; readonly state: WholeState }>
  release(): Promise<void>
}

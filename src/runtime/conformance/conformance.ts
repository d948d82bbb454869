import type { Device } from "../device.ts"
import type { Feature } from "../onnx/lowering.ts"
import { interpret } from "../reference.ts"
import { disagreement, seedFor, traced } from "./judge.ts"
import { type OpCase, opCases, samples, symbols } from "./op-cases.ts"

/** An op that a device does not compute as the interpreter does. */
export interface Disagreement {
  /** The op's name and, of several, the number of the case. */
  readonly op: string
  /** In words: which result, and how far apart or with which error. */
  readonly problem: string
  readonly needs: Feature | undefined
}

/**
 * Every op's value and gradients on small shapes, beside the float64 interpreter: what is not the
 * same to within `tolerance`. A few seconds.
 */
export async function disagreements(
  device: Device,
  tolerance: number,
  cases: readonly OpCase[] = opCases,
): Promise<Disagreement[]> {
  const found: Disagreement[] = []
  for (const opCase of cases) {
    const problem = await problemOf(device, opCase, tolerance)
    if (problem) found.push({ op: opCase.name, problem, needs: opCase.needs })
  }
  return found
}

async function problemOf(
  device: Device,
  opCase: OpCase,
  tolerance: number,
): Promise<string | undefined> {
  const xs = symbols(opCase)
  const feeds = samples(opCase)
  const wrt = xs.filter(({ dtype }) => dtype === "f32")
  const { forward, backward } = traced(opCase.f(...xs), wrt)
  try {
    const value = await disagreement(device, forward, feeds, tolerance)
    if (value) return `its value: ${value}`
    if (backward.outputs.length === 0) return undefined
    const dy = seedFor(interpret(forward, feeds).y!)
    const gradient = await disagreement(device, backward, { ...feeds, dy }, tolerance)
    return gradient && `its gradient: ${gradient}`
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    return message.trim().replace(/^.*Status Message: /s, "")
  }
}

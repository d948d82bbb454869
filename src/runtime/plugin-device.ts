/** A device of an execution provider's library, admitted only when it computes what it should. */
import { createHash } from "node:crypto"
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs"
import { dirname, join } from "node:path"
import { InputError } from "../errors.ts"
import { graph, input } from "../graph/index.ts"
import { cacheFolder } from "../host/cache-folder.ts"
import { version } from "../host/version.ts"
import { type Disagreement, disagreements } from "./conformance/conformance.ts"
import { opCases } from "./conformance/op-cases.ts"
import type { Device, LibraryDevice } from "./device.ts"
import { ortApi } from "./native/ort-api.ts"
import { nameOf, type PluginDevice, pluginDevice } from "./native/plugin-provider.ts"
import type { Feature } from "./onnx/lowering.ts"
import { FALLBACK } from "./onnx/onnx-errors.ts"

/** Exponentials and divisions of GPUs are good to a few units in the last place of float32. */
const TOLERANCE = 1e-5

export interface Opened {
  readonly plugin: PluginDevice
  readonly options: Readonly<Record<string, string>>
  readonly lacks: ReadonlySet<Feature>
  /** What it has no kernel for is an error. */
  readonly strict?: boolean
}

/** Puts a device of a provider together; `strict` leaves nothing to the CPU. */
export type MakeDevice = (opened: Opened) => Device

/**
 * The device of a library. Every op's value and gradients are compared with the float64 interpreter
 * first; a device that has passed is known by its library's bytes, its versions and its options.
 *
 * @throws InputError naming the ops that it computes wrongly, or where it multiplies no matrices
 */
export async function openPluginDevice(asked: LibraryDevice, make: MakeDevice): Promise<Device> {
  const plugin = pluginDevice(asked)
  const options = asked.options ?? {}
  const verdict = verdictFile(plugin, options)
  const known = knownVerdict(verdict)
  const lacks = known ?? (await admitted({ plugin, options }, make))
  if (!known) remember(verdict, { device: nameOf(plugin), lacks: [...lacks] })
  return make({ plugin, options, lacks })
}

/**
 * What a device lacks by a verdict that was kept; undefined where there is none, or half of one.
 */
function knownVerdict(file: string): ReadonlySet<Feature> | undefined {
  if (!existsSync(file)) return undefined
  try {
    const lacks: unknown = JSON.parse(readFileSync(file, "utf8"))?.lacks
    return Array.isArray(lacks) ? new Set<Feature>(lacks) : undefined
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

/** What it lacks, once it has shown that it computes all else. */
async function admitted(
  opened: Omit<Opened, "lacks">,
  make: MakeDevice,
): Promise<ReadonlySet<Feature>> {
  const { plugin } = opened
  const refusal = (why: string) =>
    new InputError(
      `engine.device.library: ${plugin.library}: ${nameOf(plugin)} is not used: ${why} Set device: cpu, or auto, to go on without it.`,
    )
  const unplaced = await productProblem(make({ ...opened, lacks: new Set(), strict: true }))
  if (unplaced) throw refusal(unplaced)
  const device = make({ ...opened, lacks: new Set() })
  const found = await disagreements(device, TOLERANCE).finally(() => device.release())
  const wrong = found.filter(({ needs }) => needs === undefined)
  if (wrong.length > 0) throw refusal(`${described(wrong)}.`)
  return new Set(found.flatMap(({ needs }) => needs ?? []))
}

const MOST_NAMED = 3

function described(wrong: readonly Disagreement[]): string {
  const named = wrong.slice(0, MOST_NAMED).map(({ op, problem }) => `${op} (${problem})`)
  const more = wrong.length > MOST_NAMED ? `, and ${wrong.length - MOST_NAMED} more` : ""
  return `of ${opCases.length} operations that were compared with float64, ${wrong.length} differ: ${named.join("; ")}${more}`
}

/** Why the provider does not take a linear layer's product. */
async function productProblem(strict: Device): Promise<string | undefined> {
  const [x, w] = [input("x", ["rows", 8]), input("w", [4, 8])]
  try {
    const product = await strict.compile(graph("product", { y: x.matmul(w, { transB: true }) }))
    await product.release()
    return undefined
  } catch (error) {
    const { message } = error as Error
    return FALLBACK.test(message)
      ? "it multiplies no matrices, so the CPU would do the work."
      : `a product does not compile on it: ${message}.`
  } finally {
    await strict.release()
  }
}

function verdictFile(plugin: PluginDevice, options: Opened["options"]): string {
  const { library, pointer: _, ...device } = plugin
  const bytes = createHash("sha256").update(readFileSync(library)).digest("hex")
  const folder = dirname(library)
  // Libraries that it brings: too many bytes to read at every start.
  const beside = readdirSync(folder)
    .filter((name) => /\.(so|dll|dylib|metallib)\b/.test(name))
    .map((name) => [name, statSync(join(folder, name), { throwIfNoEntry: false })?.size])
  const cases = opCases.map(({ name }) => name)
  const versions = [version(), ortApi().version, process.platform, process.arch]
  const key = JSON.stringify([bytes, beside, device, options, versions, cases, TOLERANCE])
  const name = createHash("sha256").update(key).digest("hex").slice(0, 32)
  return join(cacheFolder(), "devices", `${name}.json`)
}

function remember(file: string, verdict: object): void {
  mkdirSync(dirname(file), { recursive: true })
  const whole = `${file}.${process.pid}`
  writeFileSync(whole, JSON.stringify(verdict))
  renameSync(whole, file)
}

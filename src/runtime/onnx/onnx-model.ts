import protobuf from "protobufjs/minimal.js"
import { assert } from "../../errors.ts"
import type { Graph, Port, Tensor } from "../../graph/index.ts"
import { codesOfFactors, OWN_DOMAIN } from "./lowering/own-products.ts"
import type { Emitter, Feature, Lowering, OwnProducts, Target } from "./lowering.ts"
import { lowerings } from "./lowerings.ts"
import {
  DATA_TYPE,
  integer,
  message,
  text,
  type Writer,
  writeAttribute,
  writeConstant,
  writeDeclaration,
  writePort,
} from "./onnx-proto.ts"
import { hostIntegers, storedAs } from "./storage.ts"

const OPSET = 21
const IR_VERSION = 10

function lowered(emitter: Emitter, inputs: readonly string[], node: Tensor): string {
  const lowering: Lowering<never> = lowerings[node.op]
  return lowering(emitter, inputs, node as never)
}

export interface ModelOptions {
  /** Names of inputs that become initializers. The session gets their data beside the model. */
  readonly constants?: ReadonlySet<string>
  /** Products that the session's own operators compute. */
  readonly own?: OwnProducts | undefined
  /**
   * Names of inputs that are held as panels of bfloat16: factors, and tables that rows are read of.
   */
  readonly packed?: ReadonlySet<string>
  readonly lacks?: ReadonlySet<Feature> | undefined
}

/** WebGPU's attention over a cache ignores the attribute. */
const LACKING: { readonly [Kind in Target]: ReadonlySet<Feature> } = {
  cpu: new Set(),
  webgpu: new Set(["softcap"]),
}

/** The bytes of an ONNX model that computes `graph` with the kernels of `target`. */
export function onnxModel(
  graph: Graph,
  target: Target,
  { constants = new Set(), own, packed = new Set(), lacks = LACKING[target] }: ModelOptions = {},
): Uint8Array {
  const bodies: Write[] = []
  const literals = new Map<string, { name: string; write: Write }>()
  const renamed = new Map<string, string>()
  let fresh = 0
  const onHost = hostIntegers(graph)
  const integers = (node: Tensor) => (target === "cpu" || onHost.has(node) ? "i64" : "i32")
  const stored = storedAs(graph, target)
  const asStored = (port: Port): Port => {
    if (!packed.has(port.name)) return { ...port, dtype: stored.get(port.name) ?? port.dtype }
    const [rows, columns] = port.shape as [number, number]
    return { name: port.name, dtype: "u8", shape: [own!.bf16!.bytes(rows, columns)] }
  }

  const names = new Map<Tensor, string>()
  const emitter: Emitter = {
    target,
    own,
    lacks,
    isPacked: (node) => node.op === "input" && packed.has(node.label),
    nameOf: (node) => names.get(node)!,
    dataType: (dtype) => DATA_TYPE[target === "webgpu" && dtype === "i64" ? "i32" : dtype],
    integers,
    node(opType, inputs, attributes = {}, domain = "", outputs = 1) {
      const id = fresh++
      const names = Array.from({ length: outputs }, (_, i) => `v${id}_${i}`)
      bodies.push((w) => {
        for (const input of inputs) text(w, 1, renamed.get(input) ?? input)
        for (const output of names) text(w, 2, renamed.get(output) ?? output)
        text(w, 3, `${opType}_${id}`)
        text(w, 4, opType)
        for (const [key, value] of Object.entries(attributes)) {
          message(w, 5, (a) => writeAttribute(a, key, value))
        }
        if (domain) text(w, 7, domain)
      })
      return names[0]!
    },
    constant(dtype, shape, data) {
      const key = `${dtype} ${shape} ${data}`
      const known = literals.get(key)
      if (known) return known.name
      const name = `c${literals.size}`
      literals.set(key, { name, write: (w) => writeConstant(w, name, dtype, shape, data) })
      return name
    },
  }

  const narrowed = new Map<Tensor, string>()
  const absorbed = own?.bf16 ? codesOfFactors(graph) : new Set<Tensor>()
  for (const node of graph.nodes) {
    if (absorbed.has(node)) {
      names.set(node, "absorbed by the products that take it")
      continue
    }
    const inputs = node.inputs.map((x, i) => {
      const name = names.get(x)!
      const needsHost = onHost.has(node) || (node.op === "sliceBy" && i > 0)
      if (target === "cpu" || !onHost.has(x) || needsHost) return name
      const known = narrowed.get(x) ?? emitter.node("Cast", [name], { to: { i: DATA_TYPE.i32 } })
      narrowed.set(x, known)
      return known
    })
    assert(
      inputs.every((name) => name !== undefined),
      `${graph.name}: nodes are out of order`,
    )
    names.set(node, lowered(emitter, inputs, node))
  }
  for (const [name, node] of Object.entries(graph.results)) {
    const made = names.get(node)!
    // A node's own output takes the result's name; inputs and constants need a copy.
    if (made.startsWith("v") && node.op !== "input" && !renamed.has(made)) renamed.set(made, name)
    else {
      bodies.push((w) => {
        text(w, 1, renamed.get(made) ?? made)
        text(w, 2, name)
        text(w, 4, "Identity")
      })
    }
  }

  return modelProto(graph, { bodies, literals: literals.values(), constants, asStored, own })
}

type Write = (writer: Writer) => void

interface ModelParts {
  readonly bodies: readonly Write[]
  readonly literals: Iterable<{ readonly write: Write }>
  readonly constants: ReadonlySet<string>
  readonly asStored: (port: Port) => Port
  readonly own: OwnProducts | undefined
}

function modelProto(
  graph: Graph,
  { bodies, literals, constants, asStored, own }: ModelParts,
): Uint8Array {
  const writer = protobuf.Writer.create()
  // ModelProto: ir_version 1, producer_name 2, graph 7, opset_import 8 (domain 1, version 2)
  integer(writer, 1, IR_VERSION)
  text(writer, 2, "dftune")
  message(writer, 7, (g) => {
    // GraphProto: node 1, name 2, initializer 5, input 11, output 12
    for (const body of bodies) message(g, 1, body)
    text(g, 2, graph.name)
    for (const { write } of literals) message(g, 5, write)
    for (const port of graph.inputs) {
      if (constants.has(port.name)) message(g, 5, (w) => writeDeclaration(w, asStored(port)))
      else message(g, 11, (w) => writePort(w, asStored(port)))
    }
    for (const port of graph.outputs) message(g, 12, (w) => writePort(w, asStored(port)))
  })
  for (const [domain, version] of [
    ["", OPSET],
    ["com.microsoft", 1],
    ...(own ? ([[OWN_DOMAIN, 1]] as const) : []),
  ] as const) {
    message(writer, 8, (w) => {
      text(w, 1, domain)
      integer(w, 2, version)
    })
  }
  return writer.finish()
}

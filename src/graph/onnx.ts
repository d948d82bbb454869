import protobuf from "protobufjs/minimal.js"
import { assert } from "../errors.ts"
import type { Graph, Port } from "./graph.ts"
import type { DType } from "./shape.ts"
import { opRow, type Tensor } from "./tensor.ts"

type Writer = protobuf.Writer

/** An ONNX attribute: one field says its kind. */
export type Attribute =
  | { readonly i: number }
  | { readonly f: number }
  | { readonly s: string }
  | { readonly ints: readonly number[] }

export type DeviceKind = "cpu" | "webgpu"

/** ONNX's numbers for element types (onnx.proto, TensorProto.DataType). */
const DATA_TYPE: Readonly<Record<DType, number>> = { f32: 1, u8: 2, i32: 6, i64: 7, bool: 9 }
const OPSET = 21
const IR_VERSION = 10

/** What an op's lowering writes into: nodes and constants, each with a fresh name. */
export interface Emitter {
  readonly device: DeviceKind
  dataType(dtype: DType): number
  /** How the integers of a node are stored: WebGPU computes with 32 bits only. */
  integers(node: Tensor): "i64" | "i32"
  /** Adds a node; returns its first output's name. */
  node(
    opType: string,
    inputs: readonly string[],
    attributes?: Readonly<Record<string, Attribute>>,
    domain?: string,
    outputs?: number,
  ): string
  constant(dtype: ConstantType, shape: readonly number[], data: readonly number[]): string
}
type ConstantType = "f32" | "i64" | "i32"

/** Writes a sub-message under field `field`. */
function message(writer: Writer, field: number, body: (writer: Writer) => void): void {
  writer.uint32((field << 3) | 2).fork()
  body(writer)
  writer.ldelim()
}

const text = (writer: Writer, field: number, value: string) =>
  writer.uint32((field << 3) | 2).string(value)
const integer = (writer: Writer, field: number, value: number) =>
  writer.uint32(field << 3).int64(value)

// AttributeProto: name 1, f 2, i 3, s 4, ints 8, type 20 (FLOAT 1, INT 2, STRING 3, INTS 7)
function writeAttribute(writer: Writer, name: string, value: Attribute): void {
  text(writer, 1, name)
  if ("f" in value) {
    writer.uint32((2 << 3) | 5).float(value.f)
    integer(writer, 20, 1)
  } else if ("i" in value) {
    integer(writer, 3, value.i)
    integer(writer, 20, 2)
  } else if ("s" in value) {
    text(writer, 4, value.s)
    integer(writer, 20, 3)
  } else {
    for (const item of value.ints) integer(writer, 8, item)
    integer(writer, 20, 7)
  }
}

// ValueInfoProto: name 1, type 2; TypeProto: tensor_type 1; Tensor: elem_type 1, shape 2; dim 1
function writePort(writer: Writer, { name, dtype, shape }: Port): void {
  text(writer, 1, name)
  message(writer, 2, (type) =>
    message(type, 1, (tensor) => {
      integer(tensor, 1, DATA_TYPE[dtype])
      message(tensor, 2, (dims) => {
        for (const dim of shape) {
          message(dims, 1, (w) => {
            if (typeof dim === "number") integer(w, 1, dim)
            else text(w, 2, dim)
          })
        }
      })
    }),
  )
}

// TensorProto: dims 1, data_type 2, name 8, raw_data 9
function writeConstant(
  writer: Writer,
  name: string,
  dtype: ConstantType,
  shape: readonly number[],
  data: readonly number[],
): void {
  for (const dim of shape) integer(writer, 1, dim)
  integer(writer, 2, DATA_TYPE[dtype])
  text(writer, 8, name)
  const values = {
    f32: () => Float32Array.from(data),
    i32: () => Int32Array.from(data),
    i64: () => BigInt64Array.from(data.map(BigInt)),
  }[dtype]()
  writer.uint32((9 << 3) | 2).bytes(new Uint8Array(values.buffer))
}

// TensorProto: external_data 13 (key 1, value 2), data_location 14 (EXTERNAL 1)
function writeDeclaration(writer: Writer, { name, dtype, shape }: Port): void {
  for (const dim of shape) integer(writer, 1, dim as number)
  integer(writer, 2, DATA_TYPE[dtype])
  text(writer, 8, name)
  message(writer, 13, (entry) => {
    text(entry, 1, "location")
    text(entry, 2, "given to the session")
  })
  integer(writer, 14, 1)
}

/**
 * Nodes whose integers say how much of something to take. They stay int64 in host memory on every
 * device, and what they are computed from too; a slice's size is needed before a kernel starts.
 */
export function hostIntegers(graph: Graph): ReadonlySet<Tensor> {
  const found = new Set<Tensor>()
  for (const node of graph.nodes.toReversed()) {
    if (node.op === "sliceBy") for (const bound of node.inputs.slice(1)) found.add(bound)
    if (found.has(node)) for (const source of node.inputs) found.add(source)
  }
  return found
}

/** How each input and output of `graph` is stored on `device`, where that is not its type. */
export function storedAs(graph: Graph, device: DeviceKind): ReadonlyMap<string, DType> {
  const onHost = hostIntegers(graph)
  const stored = new Map<string, DType>()
  if (device !== "webgpu") return stored
  const add = (name: string, node: Tensor) => {
    if (node.dtype === "i64" && !onHost.has(node)) stored.set(name, "i32")
  }
  for (const node of graph.nodes) if (node.op === "input") add(node.label, node)
  for (const [name, node] of Object.entries(graph.results)) add(name, node)
  return stored
}

/**
 * The bytes of an ONNX model that computes `graph` on `device`. Inputs named in `constants` become
 * initializers, whose data the session is given beside the model.
 */
export function onnxModel(
  graph: Graph,
  device: DeviceKind,
  constants: ReadonlySet<string> = new Set(),
): Uint8Array {
  const writer = protobuf.Writer.create()
  const bodies: ((writer: Writer) => void)[] = []
  const literals = new Map<string, { name: string; write: (writer: Writer) => void }>()
  const renamed = new Map<string, string>()
  let fresh = 0
  const onHost = hostIntegers(graph)
  const integers = (node: Tensor) => (device === "cpu" || onHost.has(node) ? "i64" : "i32")
  const stored = storedAs(graph, device)
  const asStored = (port: Port): Port => ({ ...port, dtype: stored.get(port.name) ?? port.dtype })

  const emitter: Emitter = {
    device,
    dataType: (dtype) => DATA_TYPE[device === "webgpu" && dtype === "i64" ? "i32" : dtype],
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

  const names = new Map<Tensor, string>()
  const narrowed = new Map<Tensor, string>()
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((x, i) => {
      const name = names.get(x)!
      const needsHost = onHost.has(node) || (node.op === "sliceBy" && i > 0)
      if (device === "cpu" || !onHost.has(x) || needsHost) return name
      const known = narrowed.get(x) ?? emitter.node("Cast", [name], { to: { i: DATA_TYPE.i32 } })
      narrowed.set(x, known)
      return known
    })
    assert(
      inputs.every((name) => name !== undefined),
      `${graph.name}: nodes are out of order`,
    )
    names.set(node, opRow(node.op).onnx(emitter, inputs, node as never))
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

  // ModelProto: ir_version 1, producer_name 2, graph 7, opset_import 8 (domain 1, version 2)
  integer(writer, 1, IR_VERSION)
  text(writer, 2, "dftune")
  message(writer, 7, (g) => {
    // GraphProto: node 1, name 2, initializer 5, input 11, output 12
    for (const body of bodies) message(g, 1, body)
    text(g, 2, graph.name)
    for (const { write } of literals.values()) message(g, 5, write)
    for (const port of graph.inputs) {
      if (constants.has(port.name)) message(g, 5, (w) => writeDeclaration(w, port))
      else message(g, 11, (w) => writePort(w, asStored(port)))
    }
    for (const port of graph.outputs) message(g, 12, (w) => writePort(w, asStored(port)))
  })
  for (const [domain, version] of [
    ["", OPSET],
    ["com.microsoft", 1],
  ] as const) {
    message(writer, 8, (w) => {
      text(w, 1, domain)
      integer(w, 2, version)
    })
  }
  return writer.finish()
}

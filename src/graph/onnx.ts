import protobuf from "protobufjs/minimal.js"
import { assert } from "../run/errors.ts"
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
  /** Adds a node; returns its first output's name. */
  node(
    opType: string,
    inputs: readonly string[],
    attributes?: Readonly<Record<string, Attribute>>,
    domain?: string,
    outputs?: number,
  ): string
  constant(dtype: "f32" | "i64", shape: readonly number[], data: readonly number[]): string
}

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
  dtype: "f32" | "i64",
  shape: readonly number[],
  data: readonly number[],
): void {
  for (const dim of shape) integer(writer, 1, dim)
  integer(writer, 2, DATA_TYPE[dtype])
  text(writer, 8, name)
  const values = dtype === "f32" ? Float32Array.from(data) : BigInt64Array.from(data.map(BigInt))
  writer.uint32((9 << 3) | 2).bytes(new Uint8Array(values.buffer))
}

/** The bytes of an ONNX model that computes `graph` on `device`. */
export function onnxModel(graph: Graph, device: DeviceKind): Uint8Array {
  const writer = protobuf.Writer.create()
  const bodies: ((writer: Writer) => void)[] = []
  const constants = new Map<string, { name: string; write: (writer: Writer) => void }>()
  const renamed = new Map<string, string>()
  let fresh = 0

  const emitter: Emitter = {
    device,
    dataType: (dtype) => DATA_TYPE[dtype],
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
      const known = constants.get(key)
      if (known) return known.name
      const name = `c${constants.size}`
      constants.set(key, { name, write: (w) => writeConstant(w, name, dtype, shape, data) })
      return name
    },
  }

  const names = new Map<Tensor, string>()
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((x) => names.get(x)!)
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
    for (const { write } of constants.values()) message(g, 5, write)
    for (const port of graph.inputs) message(g, 11, (w) => writePort(w, port))
    for (const port of graph.outputs) message(g, 12, (w) => writePort(w, port))
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

import type protobuf from "protobufjs/minimal.js"
import type { DType, Port } from "../../graph/index.ts"
import type { Attribute, ConstantType } from "./lowering.ts"

// The messages of onnx.proto that a model is made of, field by field.

export type Writer = protobuf.Writer

/** ONNX's numbers for element types (onnx.proto, TensorProto.DataType). */
/**
 * The bits of bfloat16 numbers are whole numbers to ONNX Runtime: our own operators alone read
 * them.
 */
export const DATA_TYPE: Readonly<Record<DType, number>> = {
  ...{ f32: 1, u8: 2, bf16: 4, i32: 6, i64: 7, bool: 9 },
}

/** Writes a sub-message under field `field`. */
export function message(writer: Writer, field: number, body: (writer: Writer) => void): void {
  writer.uint32((field << 3) | 2).fork()
  body(writer)
  writer.ldelim()
}

export const text = (writer: Writer, field: number, value: string) =>
  writer.uint32((field << 3) | 2).string(value)
export const integer = (writer: Writer, field: number, value: number) =>
  writer.uint32(field << 3).int64(value)

// AttributeProto: name 1, f 2, i 3, s 4, ints 8, type 20 (FLOAT 1, INT 2, STRING 3, INTS 7)
export function writeAttribute(writer: Writer, name: string, value: Attribute): void {
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
export function writePort(writer: Writer, { name, dtype, shape }: Port): void {
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
export function writeConstant(
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

// TensorProto: external_data 13 (key 1, value 2), data_location 14 (EXTERNAL 1). The web's runtime
// finds the data by its location, Node's by its name.
export function writeDeclaration(writer: Writer, { name, dtype, shape }: Port): void {
  for (const dim of shape) integer(writer, 1, dim as number)
  integer(writer, 2, DATA_TYPE[dtype])
  text(writer, 8, name)
  message(writer, 13, (entry) => {
    text(entry, 1, "location")
    text(entry, 2, name)
  })
  integer(writer, 14, 1)
}

/** Kinds of a metadata value, in the order of their numbers in a file (gguf.h, enum gguf_type). */
const KINDS = [
  "uint8",
  "int8",
  "uint16",
  "int16",
  "uint32",
  "int32",
  "float32",
  "bool",
  "string",
  "array",
  "uint64",
  "int64",
  "float64",
] as const
export type GgufKind = (typeof KINDS)[number]

export const kindCode = (kind: GgufKind): number => KINDS.indexOf(kind)
export const kindOfCode = (code: number): GgufKind | undefined => KINDS[code]

/** Kinds that hold one number. */
export type NumberKind =
  | "uint8"
  | "int8"
  | "uint16"
  | "int16"
  | "uint32"
  | "int32"
  | "float32"
  | "float64"
/** What an array may hold; arrays in arrays are in no file of a language model. */
export type ElementKind = Exclude<GgufKind, "array">

export type GgufScalar =
  | { readonly kind: NumberKind; readonly value: number }
  | { readonly kind: "uint64" | "int64"; readonly value: bigint }
  | { readonly kind: "bool"; readonly value: boolean }
  | { readonly kind: "string"; readonly value: string }

/** One metadata value, with the kind it has in the file. */
export type GgufValue =
  | GgufScalar
  | {
      readonly kind: "array"
      readonly of: ElementKind
      readonly value: readonly GgufScalar["value"][]
    }

export type GgufMetadata = ReadonlyMap<string, GgufValue>

/** How a number lies in a file: its bytes, and how it is read and written (little endian). */
export interface NumberLayout {
  readonly bytes: number
  readonly read: (view: DataView, at: number) => number | bigint | boolean
  readonly write: (view: DataView, at: number, value: number | bigint | boolean) => void
}

export const NUMBER_LAYOUTS: {
  readonly [Kind in Exclude<ElementKind, "string">]: NumberLayout
} = {
  uint8: {
    bytes: 1,
    read: (view, at) => view.getUint8(at),
    write: (view, at, value) => view.setUint8(at, Number(value)),
  },
  int8: {
    bytes: 1,
    read: (view, at) => view.getInt8(at),
    write: (view, at, value) => view.setInt8(at, Number(value)),
  },
  uint16: {
    bytes: 2,
    read: (view, at) => view.getUint16(at, true),
    write: (view, at, value) => view.setUint16(at, Number(value), true),
  },
  int16: {
    bytes: 2,
    read: (view, at) => view.getInt16(at, true),
    write: (view, at, value) => view.setInt16(at, Number(value), true),
  },
  uint32: {
    bytes: 4,
    read: (view, at) => view.getUint32(at, true),
    write: (view, at, value) => view.setUint32(at, Number(value), true),
  },
  int32: {
    bytes: 4,
    read: (view, at) => view.getInt32(at, true),
    write: (view, at, value) => view.setInt32(at, Number(value), true),
  },
  float32: {
    bytes: 4,
    read: (view, at) => view.getFloat32(at, true),
    write: (view, at, value) => view.setFloat32(at, Number(value), true),
  },
  bool: {
    bytes: 1,
    read: (view, at) => view.getUint8(at) !== 0,
    write: (view, at, value) => view.setUint8(at, value ? 1 : 0),
  },
  uint64: {
    bytes: 8,
    read: (view, at) => view.getBigUint64(at, true),
    write: (view, at, value) => view.setBigUint64(at, BigInt(value), true),
  },
  int64: {
    bytes: 8,
    read: (view, at) => view.getBigInt64(at, true),
    write: (view, at, value) => view.setBigInt64(at, BigInt(value), true),
  },
  float64: {
    bytes: 8,
    read: (view, at) => view.getFloat64(at, true),
    write: (view, at, value) => view.setFloat64(at, Number(value), true),
  },
}

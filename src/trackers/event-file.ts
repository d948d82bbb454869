/**
 * TensorBoard's event files: records of TFRecord, each an Event in protobuf.
 * https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details and
 * tensorboard/compat/proto/{event,summary}.proto
 */
import { crc32c } from "./crc32c.ts"

const MASK_DELTA = 0xa282ead8

/** TFRecord's checksum: turned by 15 bits, so that a record within a record still differs. */
function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes)
  return (((crc >>> 15) | (crc << 17)) + MASK_DELTA) >>> 0
}

/** `data` as a record: its length, the length's checksum, itself, its checksum. */
export function record(data: Uint8Array): Buffer {
  const bytes = Buffer.alloc(data.length + 16)
  bytes.writeBigUInt64LE(BigInt(data.length), 0)
  bytes.writeUInt32LE(maskedCrc(bytes.subarray(0, 8)), 8)
  bytes.set(data, 12)
  bytes.writeUInt32LE(maskedCrc(data), data.length + 12)
  return bytes
}

/** The records of a file up to the first that is torn or damaged, as a reader would take them. */
export function records(file: Buffer): Buffer[] {
  const found: Buffer[] = []
  for (let at = 0; at + 16 <= file.length; ) {
    const length = Number(file.readBigUInt64LE(at))
    const end = at + 12 + length
    if (file.readUInt32LE(at + 8) !== maskedCrc(file.subarray(at, at + 8))) break
    if (end + 4 > file.length) break
    const data = file.subarray(at + 12, end)
    if (file.readUInt32LE(end) !== maskedCrc(data)) break
    found.push(data)
    at = end + 4
  }
  return found
}

/** Field numbers of event.proto's Event, and the wire types before them. */
const TIME = 0x09 // 1, 64 bits
const STEP = 0x10 // 2, varint
const VERSION = 0x1a // 3, bytes
const SUMMARY = 0x2a // 5, bytes
const SESSION_LOG = 0x3a // 7, bytes

function varint(value: number): number[] {
  const bytes: number[] = []
  let rest = value
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128)
  return [...bytes, rest]
}

function double(key: number, value: number): Buffer {
  const bytes = Buffer.alloc(9)
  bytes[0] = key
  bytes.writeDoubleLE(value, 1)
  return bytes
}

function float(key: number, value: number): Buffer {
  const bytes = Buffer.alloc(5)
  bytes[0] = key
  bytes.writeFloatLE(value, 1)
  return bytes
}

function block(key: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts)
  return Buffer.concat([Buffer.from([key, ...varint(body.length)]), body])
}

/** @param seconds since 1970 */
const stamped = (seconds: number, step: number, what: Buffer): Buffer =>
  Buffer.concat([double(TIME, seconds), Buffer.from([STEP, ...varint(step)]), what])

/** The first record of every file. */
export const versionEvent = (seconds: number): Buffer =>
  stamped(seconds, 0, block(VERSION, Buffer.from("brain.Event:2")))

/** SessionLog.START: a reader that is open drops what it holds of `step` and later ones. */
export const startEvent = (seconds: number, step: number): Buffer =>
  stamped(seconds, step, block(SESSION_LOG, Buffer.from([0x08, 1])))

/** Summary.Value: tag is field 1, simple_value field 2. */
export function scalarsEvent(
  seconds: number,
  step: number,
  scalars: readonly (readonly [tag: string, value: number])[],
): Buffer {
  const values = scalars.map(([tag, value]) =>
    block(0x0a, block(0x0a, Buffer.from(tag)), float(0x15, value)),
  )
  return stamped(seconds, step, block(SUMMARY, ...values))
}

/** The step of an event that this file wrote. */
export function stepOf(event: Buffer): number {
  let step = 0
  for (let at = 10, unit = 1; ; at++, unit *= 128) {
    step += (event[at]! & 127) * unit
    if (event[at]! < 128) return step
  }
}

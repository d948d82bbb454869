/**
 * The messages of an Arrow file or stream (https://arrow.apache.org/docs/format/Columnar.html),
 * walked before they are decoded: the decoder makes as many values as a list says that it has.
 */

/** Lists and structures in each other. */
const MAX_DEPTH = 64
/** Entries and text of what describes the values, beside its bytes: several may share one. */
const MOST_SHARED = 64

/** So many values may take no bytes: columns of nothing but null. */
const FEW = 65_536

/** What is left of the work that a description of so many bytes may ask for. */
interface Budget {
  left: number
}

function spend(budget: Budget, cost: number): void {
  budget.left -= cost
  if (!(cost >= 0) || budget.left < 0) {
    throw new Error("a list in its description is longer than the file")
  }
}

/** A flatbuffer's table: where the value of a field stands. */
interface Table {
  readonly view: DataView
  /** undefined where the field is left out. `slot` is 4, 6, 8, ... */
  readonly at: (slot: number) => number | undefined
}

function tableAt(view: DataView, index: number): Table {
  const place = index + view.getInt32(index, true)
  const fields = place - view.getInt32(place, true)
  const size = view.getInt16(fields, true)
  return {
    view,
    at(slot) {
      const offset = slot < size ? view.getInt16(fields + slot, true) : 0
      return offset === 0 ? undefined : place + offset
    },
  }
}

/** The place of each element of a list. */
function listAt({ view, at }: Table, slot: number, stride: number, budget: Budget): number[] {
  const offset = at(slot)
  if (offset === undefined) return []
  const base = offset + view.getInt32(offset, true)
  const count = view.getInt32(base, true)
  spend(budget, count * stride)
  if (count > 0) view.getUint8(base + 4 + count * stride - 1) // the last lies in the file
  return Array.from({ length: count }, (_, i) => base + 4 + i * stride)
}

function checkText({ view, at }: Table, slot: number, budget: Budget): void {
  const offset = at(slot)
  if (offset === undefined) return
  spend(budget, view.getInt32(offset + view.getInt32(offset, true), true))
}

function checkMetadata(table: Table, slot: number, budget: Budget): void {
  for (const pair of listAt(table, slot, 4, budget)) {
    const entry = tableAt(table.view, pair)
    for (const part of [4, 6]) checkText(entry, part, budget)
  }
}

function checkField(view: DataView, place: number, budget: Budget, depth: number): void {
  if (depth > MAX_DEPTH) throw new Error(`columns that lie ${depth} levels deep`)
  spend(budget, 1)
  const field = tableAt(view, place)
  checkText(field, 4, budget)
  const UNION = 14
  const type = field.at(10)
  const kind = field.at(8)
  if (type !== undefined && kind !== undefined && view.getUint8(kind) === UNION) {
    listAt(tableAt(view, type), 6, 4, budget)
  }
  checkMetadata(field, 16, budget)
  for (const child of listAt(field, 14, 4, budget)) checkField(view, child, budget, depth + 1)
}

function checkSchema(schema: Table, budget: Budget): void {
  for (const field of listAt(schema, 6, 4, budget)) checkField(schema.view, field, budget, 1)
  checkMetadata(schema, 8, budget)
}

interface Body {
  readonly bytes: DataView
  readonly version: number
  /** Of a value, at least. */
  readonly bits: number
}

/** Dictionaries become values as soon as they are read, and so must not have more than they say. */
function checkBatch(batch: Table, body: Body, budget: Budget): void {
  const { view } = batch
  // before version 4 a region has a page's number in front
  const front = body.version < 3 ? 8 : 0
  const isPacked = batch.at(10) !== undefined
  let unpacked = 0
  for (const region of listAt(batch, 8, 16 + front, budget)) {
    const [offset, length] = [0, 8].map((at) => Number(view.getBigInt64(region + front + at, true)))
    const lies = !(offset! >= 0 && length! >= 0 && offset! + length! <= body.bytes.byteLength)
    if (lies) throw new Error("values longer than the file")
    const own = isPacked && length! >= 8 ? Number(body.bytes.getBigInt64(offset!, true)) : length!
    unpacked += own === -1 ? length! : own // -1: it was left unpacked
  }
  const values = [listAt(batch, 6, 16, budget), batch.at(4) ?? []].flat()
  for (const place of values) {
    const count = Number(view.getBigInt64(place, true))
    if (!(count >= 0 && count * body.bits <= Math.max(FEW, 8 * unpacked))) {
      throw new Error(`${count} values in ${unpacked} bytes`)
    }
  }
  listAt(batch, 12, 8, budget)
}

const [SCHEMA, DICTIONARY] = [1, 2]

/** @returns where the next message begins; undefined at the end */
function checkMessage(bytes: DataView, start: number): number | undefined {
  let at = start
  const word = () => (at + 4 <= bytes.byteLength ? bytes.getInt32(at, true) : 0)
  let length = word()
  at += 4
  if (length === -1) {
    length = word()
    at += 4
  }
  if (length === 0) return undefined
  if (length < 0 || at + length > bytes.byteLength)
    throw new Error("a message longer than the file")
  const head = new DataView(bytes.buffer, bytes.byteOffset + at, length)
  const budget = { left: MOST_SHARED * length }
  const message = tableAt(head, 0)
  const [version, kind, content, body] = [4, 6, 8, 10].map(message.at)
  const bodyLength = body === undefined ? 0 : Number(head.getBigInt64(body, true))
  const end = at + length + bodyLength
  if (!(bodyLength >= 0 && end <= bytes.byteLength)) throw new Error("values longer than the file")
  if (content === undefined) return end
  const type = kind === undefined ? 0 : head.getUint8(kind)
  const table = tableAt(head, content)
  const values = {
    bytes: new DataView(bytes.buffer, bytes.byteOffset + at + length, bodyLength),
    version: version === undefined ? 0 : head.getInt16(version, true),
  }
  if (type === SCHEMA) checkSchema(table, budget)
  else if (type !== DICTIONARY) checkBatch(table, { ...values, bits: 1 }, budget)
  else {
    const data = table.at(6)
    if (data !== undefined) checkBatch(tableAt(head, data), { ...values, bits: 8 }, budget)
  }
  return end
}

const MAGIC = "ARROW1"

/**
 * Holds the description of an Arrow file's values to the bytes that are there.
 *
 * @throws Error saying what does not fit, or RangeError where something lies outside
 */
export function checkMessages(file: Uint8Array): void {
  const bytes = new DataView(file.buffer, file.byteOffset, file.byteLength)
  if (Buffer.from(file.subarray(0, MAGIC.length)).toString("latin1") !== MAGIC) {
    for (let at: number | undefined = 0; at !== undefined; ) at = checkMessage(bytes, at)
    return
  }
  const footerEnd = file.byteLength - MAGIC.length - 4
  const length = bytes.getInt32(footerEnd, true)
  if (!(length > 0 && length <= footerEnd)) throw new Error("its footer lies outside of it")
  const view = new DataView(bytes.buffer, bytes.byteOffset, footerEnd)
  const footer = tableAt(view, footerEnd - length)
  const budget = { left: MOST_SHARED * length }
  const schema = footer.at(6)
  if (schema !== undefined) checkSchema(tableAt(view, schema), budget)
  checkMetadata(footer, 12, budget)
  for (const slot of [8, 10]) {
    for (const block of listAt(footer, slot, 24, budget)) {
      const offset = Number(view.getBigInt64(block, true))
      if (!(offset >= 0 && offset < footerEnd)) throw new Error("a block lies outside of it")
      checkMessage(bytes, offset)
    }
  }
}

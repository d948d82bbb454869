/**
 * AdamW with moments of eight bits (Dettmers et al., arXiv 2110.02861): each block of 256 numbers
 * shares the largest magnitude in it, and a number is the nearest of 256 values that lie denser
 * towards zero ("dynamic tree" quantisation, as bitsandbytes has it).
 */
import { type AdamWSettings, adamwNumbers, adamwScalars } from "./adamw-graph.ts"
import type { UpdateStep } from "./elementwise.ts"

export const BLOCK = 256
/** Smaller tensors keep float32 moments: they take no memory, and norms and biases are delicate. */
export const LEAST_ELEMENTS = 4096

/** 256 values in order, what lies between neighbours, and where to begin to look for a number. */
export interface CodeMap {
  /** [256] */
  readonly values: Float32Array
  /** [255]: a number above middles[i] is nearer to values[i + 1]. */
  readonly middles: Float32Array
  /** [65536]: by the upper half of a float32's bits, a code not above the number's own. */
  readonly first: Uint8Array
}

const DECADES = 7

/**
 * Seven decades below 1; the i-th from below is cut into 2^i parts (2^(i+1) without a sign), whose
 * middles are the values. 0 and 1 come besides.
 */
function codeMap(signed: boolean): CodeMap {
  const values = [0, 1]
  for (let i = 0; i < DECADES; i++) {
    const parts = 2 ** (signed ? i : i + 1)
    for (let k = 0; k < parts; k++) {
      const middle = 0.1 + (0.9 * (k + 0.5)) / parts
      const value = 10 ** (i + 1 - DECADES) * middle
      values.push(value)
      if (signed) values.push(-value)
    }
  }
  const sorted = Float32Array.from(values).sort()
  const middles = new Float32Array(255)
  for (let i = 0; i < 255; i++) middles[i] = (sorted[i]! + sorted[i + 1]!) / 2
  // A second moment above zero is never coded as zero: the first moment reaches further down, and
  // would be divided by epsilon alone.
  if (!signed) middles[0] = 0
  return { values: sorted, middles, first: firstCodes(middles) }
}

function firstCodes(middles: Float32Array): Uint8Array {
  const first = new Uint8Array(65_536)
  const bits = new Uint32Array(1)
  const number = new Float32Array(bits.buffer)
  for (let upper = 0; upper < 65_536; upper++) {
    // Of the numbers with this upper half the smallest: the largest magnitude where negative.
    bits[0] = upper >= 0x8000 ? (upper << 16) | 0xffff : upper << 16
    const smallest = number[0]!
    let code = 0
    while (code < 255 && smallest > middles[code]!) code++
    first[upper] = code
  }
  return first
}

let maps: { readonly signed: CodeMap; readonly unsigned: CodeMap } | undefined

export function codeMaps() {
  maps ??= { signed: codeMap(true), unsigned: codeMap(false) }
  return maps
}

/** A moment of n numbers: codes [n] and one scale a block. */
export interface BlockMoment {
  readonly codes: Uint8Array
  readonly scales: Float32Array
}

export interface BlockMoments {
  readonly first: BlockMoment
  readonly second: BlockMoment
}

export const blocksOf = (elements: number) => Math.ceil(elements / BLOCK)

function zeroMoment(elements: number, { values }: CodeMap): BlockMoment {
  const zero = values.indexOf(0)
  const codes = new Uint8Array(elements).fill(zero)
  return { codes, scales: new Float32Array(blocksOf(elements)) }
}

export function zeroMoments(elements: number): BlockMoments {
  const { signed, unsigned } = codeMaps()
  return { first: zeroMoment(elements, signed), second: zeroMoment(elements, unsigned) }
}

/** What one update works on: whole blocks of a parameter, but for the last. */
export interface BlockUpdate {
  readonly parameter: Float32Array
  readonly gradient: Float32Array
  readonly moments: BlockMoments
  /** keep, rate, epsilon, gradientToFirst, squareToSecond, beta1, beta2, as float32. */
  readonly scalars: Float32Array
  readonly maps: { readonly signed: CodeMap; readonly unsigned: CodeMap }
}

/** A faster way to do what `updateBlocks` does, to the same bits. */
export type BlockKernel = (update: BlockUpdate) => Promise<void>

/** Elements that a kernel is given at a time. */
const PIECE = 4096 * BLOCK

/** One update in place, by the kernel where there is one. */
export async function adamw8bit(
  parts: Omit<BlockUpdate, "scalars" | "maps">,
  settings: AdamWSettings,
  step: UpdateStep,
  kernel?: BlockKernel,
): Promise<void> {
  const scalars = adamwNumbers(settings, adamwScalars(settings, step))
  const whole = { ...parts, scalars, maps: codeMaps() }
  if (!kernel) return updateBlocks(whole)
  const pieces: Promise<void>[] = []
  for (let start = 0; start < parts.parameter.length; start += PIECE) {
    pieces.push(kernel(pieceOf(whole, start)))
  }
  await Promise.all(pieces)
}

function pieceOf({ parameter, gradient, moments, ...rest }: BlockUpdate, start: number) {
  const end = start + PIECE
  const of = ({ codes, scales }: BlockMoment): BlockMoment => ({
    codes: codes.subarray(start, end),
    scales: scales.subarray(start / BLOCK, end / BLOCK),
  })
  return {
    ...rest,
    parameter: parameter.subarray(start, end),
    gradient: gradient.subarray(start, end),
    moments: { first: of(moments.first), second: of(moments.second) },
  }
}

/** The plain form: every operation rounded to float32, in the order of native/src/adamw-8bit.c. */
export function updateBlocks({ parameter, gradient, moments, scalars, maps }: BlockUpdate): void {
  const [keep, rate, epsilon, toFirst, toSecond, beta1, beta2] = scalars as unknown as number[]
  const f = Math.fround
  const m = new Float32Array(BLOCK)
  const v = new Float32Array(BLOCK)
  const { first, second } = moments
  for (let start = 0, block = 0; start < parameter.length; start += BLOCK, block++) {
    const count = Math.min(BLOCK, parameter.length - start)
    const [scaleM, scaleV] = [first.scales[block]!, second.scales[block]!]
    let [mostM, mostV] = [0, 0]
    for (let i = 0; i < count; i++) {
      const g = gradient[start + i]!
      const oldM = f(maps.signed.values[first.codes[start + i]!]! * scaleM)
      const oldV = f(maps.unsigned.values[second.codes[start + i]!]! * scaleV)
      m[i] = f(f(oldM * beta1!) + f(g * toFirst!))
      v[i] = f(f(oldV * beta2!) + f(f(g * g) * toSecond!))
      const change = f(f(m[i]! * rate!) / f(f(Math.sqrt(v[i]!)) + epsilon!))
      parameter[start + i] = f(f(parameter[start + i]! * keep!) - change)
      mostM = Math.max(mostM, Math.abs(m[i]!))
      mostV = Math.max(mostV, v[i]!)
    }
    first.scales[block] = mostM
    second.scales[block] = mostV
    encode(m, count, mostM, maps.signed, first.codes, start)
    encode(v, count, mostV, maps.unsigned, second.codes, start)
  }
}

const bits = new Uint32Array(1)
const number = new Float32Array(bits.buffer)

function encode(
  numbers: Float32Array,
  count: number,
  most: number,
  { middles, first }: CodeMap,
  codes: Uint8Array,
  start: number,
): void {
  for (let i = 0; i < count; i++) {
    number[0] = most === 0 ? 0 : numbers[i]! / most
    const x = number[0]!
    let code = first[bits[0]! >>> 16]!
    while (code < 255 && x > middles[code]!) code++
    codes[start + i] = code
  }
}

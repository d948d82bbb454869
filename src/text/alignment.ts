import { isObject } from "../formats/json.ts"

/**
 * Normalised text that remembers where it came from: unit `i` of `text` stems from
 * `start[i] .. end[i]` of the source (all in UTF-16 units). Inserted units have `start == end`.
 */
export interface Aligned {
  readonly text: string
  readonly start: readonly number[]
  readonly end: readonly number[]
}

export function identity(text: string, from = 0): Aligned {
  const start: number[] = []
  const end: number[] = []
  for (let i = from; i < from + text.length; i++) {
    start.push(i)
    end.push(i + 1)
  }
  return { text, start, end }
}

export function sliceAligned({ text, start, end }: Aligned, from: number, to: number): Aligned {
  return { text: text.slice(from, to), start: start.slice(from, to), end: end.slice(from, to) }
}

/** Collects pieces of a rewritten text with the source range of each. */
class Rewriter {
  private readonly source: Aligned
  private readonly parts: string[] = []
  private readonly start: number[] = []
  private readonly end: number[] = []

  constructor(source: Aligned) {
    this.source = source
  }

  /** Units `from .. to` of the source, unchanged. */
  keep(from: number, to: number): void {
    this.parts.push(this.source.text.slice(from, to))
    for (let i = from; i < to; i++) {
      this.start.push(this.source.start[i]!)
      this.end.push(this.source.end[i]!)
    }
  }

  /** `text` in place of units `from .. to`; every unit of it points at the whole of them. */
  replace(text: string, from: number, to: number): void {
    const { start, end } = this.source
    const begin = from < start.length ? start[from]! : (end.at(-1) ?? 0)
    const finish = to > from ? end[to - 1]! : begin
    this.parts.push(text)
    for (let i = 0; i < text.length; i++) {
      this.start.push(begin)
      this.end.push(finish)
    }
  }

  result(): Aligned {
    return { text: this.parts.join(""), start: this.start, end: this.end }
  }
}

export function prepend(source: Aligned, text: string): Aligned {
  const rewriter = new Rewriter(source)
  rewriter.replace(text, 0, 0)
  rewriter.keep(0, source.text.length)
  return rewriter.result()
}

export function replaceAll(source: Aligned, pattern: string | RegExp, content: string): Aligned {
  if (typeof pattern === "string" && pattern.length === 1 && content.length === 1) {
    return { ...source, text: source.text.replaceAll(pattern, () => content) } // in its place
  }
  const rewriter = new Rewriter(source)
  const matches =
    typeof pattern === "string"
      ? occurrences(source.text, pattern)
      : [...source.text.matchAll(pattern)].map((m) => [m.index, m.index + m[0].length] as const)
  let done = 0
  for (const [from, to] of matches) {
    rewriter.keep(done, from)
    rewriter.replace(content, from, to)
    done = to
  }
  rewriter.keep(done, source.text.length)
  return rewriter.result()
}

function occurrences(text: string, pattern: string): (readonly [number, number])[] {
  const found: (readonly [number, number])[] = []
  if (pattern === "") return found
  for (let at = text.indexOf(pattern); at >= 0; at = text.indexOf(pattern, at + pattern.length)) {
    found.push([at, at + pattern.length])
  }
  return found
}

/**
 * Applies a text function that acts on stretches of the text independently. The stretches are cut
 * as finely as the function allows: a cut is right when both sides mapped alone give the whole.
 */
function mapLocally(source: Aligned, map: (text: string) => string): Aligned {
  const { text } = source
  if (map(text) === text) return source
  const rewriter = new Rewriter(source)
  // A mark (accent) or a conjoining jamo joins what is before it; everything else starts a stretch.
  const stretches = text.match(/[^\p{M}\u1160-\u11ff][\p{M}\u1160-\u11ff]*|[\p{M}\u1160-\u11ff]+/gu)
  let at = 0
  for (const stretch of stretches ?? []) {
    const mapped = map(stretch)
    if (mapped === stretch) rewriter.keep(at, at + stretch.length)
    else rewriter.replace(mapped, at, at + stretch.length)
    at += stretch.length
  }
  return rewriter.result()
}

function strip(source: Aligned, left: boolean, right: boolean): Aligned {
  const { text } = source
  const from = left ? text.length - text.trimStart().length : 0
  const to = right ? text.trimEnd().length : text.length
  return sliceAligned(source, from, Math.max(from, to))
}

function patternOf(pattern: unknown): string | RegExp | null {
  if (!isObject(pattern)) return null
  if (typeof pattern.String === "string") return pattern.String
  if (typeof pattern.Regex !== "string") return null
  try {
    return new RegExp(pattern.Regex, "gu")
  } catch {
    return null
  }
}

/**
 * A normaliser of tokenizer.json, applied with alignment; null for a kind that cannot be followed.
 * The caller compares the text with what the tokenizer library makes of it.
 */
export function normalizeAligned(source: Aligned, config: unknown): Aligned | null {
  if (config === null || config === undefined) return source
  if (!isObject(config)) return null
  switch (config.type) {
    case "Sequence": {
      if (!Array.isArray(config.normalizers)) return null
      return config.normalizers.reduce(
        (aligned: Aligned | null, step: unknown) => aligned && normalizeAligned(aligned, step),
        source,
      )
    }
    case "Prepend":
      return typeof config.prepend === "string" ? prepend(source, config.prepend) : null
    case "Replace": {
      const pattern = patternOf(config.pattern)
      const content = config.content ?? ""
      return pattern !== null && typeof content === "string"
        ? replaceAll(source, pattern, content)
        : null
    }
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD": {
      const form = config.type
      return mapLocally(source, (text) => text.normalize(form))
    }
    case "Lowercase":
      return mapLocally(source, (text) => text.toLowerCase())
    case "Strip":
      return strip(source, config.strip_left === true, config.strip_right === true)
    default:
      return null
  }
}

const ENCODER = new TextEncoder()

/** The UTF-8 bytes of a normalised text, each with the source range of its character. */
export function alignedBytes({ text, start, end }: Aligned): {
  readonly bytes: Uint8Array
  readonly start: Int32Array
  readonly end: Int32Array
} {
  const bytes = ENCODER.encode(text) // a lone surrogate becomes U+FFFD: three bytes, as below
  const byteStart = new Int32Array(bytes.length)
  const byteEnd = new Int32Array(bytes.length)
  let at = 0
  for (let i = 0; i < text.length; ) {
    const code = text.codePointAt(i)!
    const units = code > 0xffff ? 2 : 1
    const length = code < 0x80 ? 1 : code < 0x800 ? 2 : code > 0xffff ? 4 : 3
    byteStart.fill(start[i]!, at, at + length)
    byteEnd.fill(end[i + units - 1]!, at, at + length)
    at += length
    i += units
  }
  return { bytes, start: byteStart, end: byteEnd }
}

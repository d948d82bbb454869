/** Wrong versions of a right file: in its bytes, its text, or the structure of its JSON. */
import type { Draw } from "./random.ts"

/** Numbers at the edges of what readers take. */
const EDGES = [
  ...[0, -1, 1, 2, 255, 256, 65_535, 65_536, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53, -(2 ** 31)],
  ...[1e308, -0.5, 1e-320],
]
const TEXTS = [
  ...["", "\0", "../../../etc/passwd", "__proto__", "constructor", "\ud800", "é".repeat(300)],
  ...["a".repeat(70_000), "<script>", "\x1b]52;c;x\x07", "%s%n", "[".repeat(5000), "1e999", "NaN"],
]
const VALUES: readonly unknown[] = [
  ...[null, true, false, [], {}, [[]], [null], { __proto__: 1 }, { length: 1e9 }],
  ...EDGES,
  ...TEXTS,
]

export function mutatedBytes(base: Uint8Array, draw: Draw, head = base.length): Buffer {
  let bytes = Buffer.from(base)
  if (draw.still) return bytes
  for (let n = 1 + draw.whole(3); n > 0; n--) {
    const at = draw.whole(Math.max(1, Math.min(head, bytes.length)))
    const length = 1 + draw.whole(draw() < 0.8 ? 8 : 4000)
    const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)]
    switch (draw.whole(7)) {
      case 0:
        bytes[at] = draw.whole(256)
        break
      case 1:
        bytes[at]! ^= 1 << draw.whole(8)
        break
      case 2:
        bytes = Buffer.concat([before, after.subarray(length)])
        break
      case 3:
        bytes = Buffer.concat([before, after.subarray(0, length), after])
        break
      case 4:
        bytes = Buffer.from(before)
        break
      case 5: {
        const edge = Buffer.alloc(8)
        edge.writeBigInt64LE(BigInt(Math.trunc(draw.of(EDGES.slice(0, 13)))))
        bytes = Buffer.concat([before, edge.subarray(0, draw.of([1, 2, 4, 8])), after.subarray(8)])
        break
      }
      default:
        bytes = Buffer.concat([before, Buffer.from(draw.of(TEXTS)), after])
    }
  }
  return bytes
}

/** One to three places of a JSON value are others, gone, doubled or nested. */
export function mutatedJson(value: unknown, draw: Draw): unknown {
  let root = structuredClone(value)
  if (draw.still) return root
  for (let n = 1 + draw.whole(3); n > 0; n--) {
    const places: { in: Record<string, unknown>; key: string }[] = []
    const holder = { root } as Record<string, unknown>
    const walk = (inside: Record<string, unknown>) => {
      for (const key of Object.keys(inside).slice(0, 400)) {
        places.push({ in: inside, key })
        const child = inside[key]
        if (typeof child === "object" && child !== null) walk(child as Record<string, unknown>)
        if (places.length > 4000) return
      }
    }
    walk(holder)
    const { in: inside, key } = draw.of(places)
    const old = inside[key]
    switch (draw.whole(6)) {
      case 0:
        if (Array.isArray(inside)) inside.splice(Number(key), 1)
        else if (key !== "root") delete inside[key]
        break
      case 1:
        inside[key] = draw.of(places).in
        if (inside[key] === holder || isCircular(inside[key])) inside[key] = old
        break
      case 2:
        inside[key] = typeof old === "number" ? draw.of(EDGES) : draw.of(VALUES)
        break
      case 3:
        inside[key] = Array.isArray(old) ? [...old, ...old] : [old]
        break
      case 4:
        if (typeof inside === "object" && !Array.isArray(inside)) inside[draw.of(TEXTS)] = old
        break
      default:
        inside[key] = draw.of(VALUES)
    }
    root = holder.root as typeof root
  }
  return root
}

function isCircular(value: unknown): boolean {
  const text = textOf(value)
  return text === undefined || text.length > 1e6
}

/** undefined for what is put into itself. */
function textOf(value: unknown): string | undefined {
  try {
    return JSON.stringify(value)
  } catch (error) {
    if (error instanceof TypeError) return undefined
    throw error
  }
}

/** The JSON of a mutant; of what has none, null. */
export const jsonOf = (mutant: unknown): string => textOf(mutant) ?? "null"

/** A JSON file, two times of three in its structure, else in its bytes. */
export function mutatedJsonFile(base: Uint8Array, value: unknown, draw: Draw): Buffer {
  if (draw() > 0.7) return mutatedBytes(base, draw)
  return Buffer.from(jsonOf(mutatedJson(value, draw)))
}

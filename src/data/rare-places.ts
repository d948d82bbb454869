/** Of the rarest places of two signatures that agree enough, at least so many are the same. */
const SHARED = 8
/** Counters of values; several values share one, which costs order and no answer. */
const COUNTERS = 2 ** 20
const FIRST_CAPACITY = 1024

/**
 * Finds the signatures that may agree with another in at least `least` of their places, without
 * looking at those that only have in common what most have: two that do agree in so many share at
 * least `SHARED` of the `places - least + SHARED` that are rarest in each, in any order that both
 * keep to (prefix filtering: Chaudhuri, Ganti and Kaushik, ICDE 2006; with more than one place
 * asked for: Wang, Li and Feng, SIGMOD 2012). The order is made anew whenever twice as many are
 * held. Holds some 300 bytes a signature where 103 of 128 places are asked for.
 */
export function rarePlaces(places: number, least: number) {
  const shared = Math.min(SHARED, least)
  const prefix = places - least + shared
  const counts = new Uint32Array(COUNTERS)
  const held: Uint32Array[] = []
  let index = chains(prefix, FIRST_CAPACITY)
  let order = rarestFirst(counts.slice(), prefix)
  let seen = new Uint8Array(FIRST_CAPACITY)

  function grow(): void {
    order = rarestFirst(counts.slice(), prefix)
    index = chains(prefix, 2 * held.length)
    seen = new Uint8Array(2 * held.length)
    for (const [at, signature] of held.entries()) index.add(at, order(signature))
  }

  return {
    /**
     * @returns numbers of those held, from 0 as they were added, that agree in `least` or may; none
     * is left out
     */
    like(signature: Uint32Array): number[] {
      const touched: number[] = []
      for (const key of order(signature))
        index.visit(key, (at) => seen[at]!++ === 0 && touched.push(at))
      const found = touched.filter((at) => seen[at]! >= shared)
      for (const at of touched) seen[at] = 0
      return found
    },
    add(signature: Uint32Array): void {
      if (held.length === seen.length) grow()
      index.add(held.push(signature) - 1, order(signature))
      for (let place = 0; place < places; place++) counts[counterOf(signature, place)]!++
    },
  }
}

const counterOf = (signature: Uint32Array, place: number): number =>
  keyOf(signature, place) & (COUNTERS - 1)

/** Of a value at a place: MurmurHash3's finaliser. */
function keyOf(signature: Uint32Array, place: number): number {
  const word = signature[place]! ^ Math.imul(place + 1, 0x9e3779b9)
  const a = Math.imul(word ^ (word >>> 16), 0x85ebca6b)
  const b = Math.imul(a ^ (a >>> 13), 0xc2b2ae35)
  return (b ^ (b >>> 16)) >>> 0
}

/** The keys of a signature's `prefix` rarest places; which stand first does not change later. */
function rarestFirst(counts: Uint32Array, prefix: number) {
  let ranks = new Uint32Array(0)
  return (signature: Uint32Array): Uint32Array => {
    const places = signature.length
    if (ranks.length !== places) ranks = new Uint32Array(places)
    const most = Math.floor(0xffffffff / places) - 1
    for (let place = 0; place < places; place++)
      ranks[place] = Math.min(counts[counterOf(signature, place)]!, most) * places + place
    ranks.sort()
    return Uint32Array.from({ length: prefix }, (_, i) => keyOf(signature, ranks[i]! % places))
  }
}

/**
 * A hash table of lists: entry `e` belongs to number `e / prefix`. What falls together is told as
 * one.
 */
function chains(prefix: number, capacity: number) {
  const mask = 2 ** Math.ceil(Math.log2(capacity * prefix)) - 1
  const heads = new Int32Array(mask + 1).fill(-1)
  const next = new Int32Array(capacity * prefix)
  return {
    add(at: number, keys: Uint32Array): void {
      for (const [i, key] of keys.entries()) {
        next[at * prefix + i] = heads[key & mask]!
        heads[key & mask] = at * prefix + i
      }
    },
    visit(key: number, see: (at: number) => void): void {
      for (let e = heads[key & mask]!; e >= 0; e = next[e]!) see(Math.floor(e / prefix))
    },
  }
}

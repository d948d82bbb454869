import { assert, InputError } from "../errors.ts"

/**
 * Packs rows into bins of at most `capacity` tokens: best fit, longest first (rows of one length
 * in their given order). The same lengths give the same bins.
 *
 * @param lengths tokens of each row.
 * @returns bins of positions in `lengths`, each ascending; every position is in exactly one bin.
 * @throws InputError when a row is longer than `capacity`.
 */
export function packRows(lengths: ArrayLike<number>, capacity: number): number[][] {
  const longestFirst = Array.from({ length: lengths.length }, (_, i) => i).sort(
    (a, b) => lengths[b]! - lengths[a]! || a - b,
  )
  const bins: number[][] = []
  const open = new OpenBins()
  for (const row of longestFirst) {
    const length = lengths[row]!
    if (length > capacity) {
      throw new InputError(
        `a row of ${length} tokens does not fit micro_batch_tokens ${capacity}; raise it, or lower data.max_length`,
      )
    }
    const fit = open.takeTightest(length)
    const bin = fit?.bin ?? bins.push([]) - 1
    bins[bin]!.push(row)
    open.add((fit?.room ?? capacity) - length, bin)
  }
  return bins.map((bin) => bin.sort((a, b) => a - b))
}

/** Bins by the room that is left in them. */
class OpenBins {
  /** The rooms there are, ascending. */
  private readonly rooms: number[] = []
  private readonly byRoom = new Map<number, number[]>()

  add(room: number, bin: number): void {
    if (room === 0) return
    const bins = this.byRoom.get(room)
    if (bins !== undefined) {
      bins.push(bin)
      return
    }
    this.byRoom.set(room, [bin])
    this.rooms.splice(this.firstAtLeast(room), 0, room)
  }

  /** Takes out the bin with the least room that still holds `length`. */
  takeTightest(length: number): { readonly room: number; readonly bin: number } | undefined {
    const at = this.firstAtLeast(length)
    const room = this.rooms[at]
    if (room === undefined) return undefined
    const bins = this.byRoom.get(room)
    const bin = bins?.pop()
    assert(bins !== undefined && bin !== undefined, `no open bin with room ${room}`)
    if (bins.length === 0) {
      this.byRoom.delete(room)
      this.rooms.splice(at, 1)
    }
    return { room, bin }
  }

  private firstAtLeast(room: number): number {
    let low = 0
    let high = this.rooms.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.rooms[middle]! < room) low = middle + 1
      else high = middle
    }
    return low
  }
}

import { koffi } from "./koffi.ts"

const MADVISE = "int madvise(void *, size_t, int)"

/** Functions of the GNU C library that Linux programs have; null where the system has another. */
function fromGlibc<T>(bind: (library: ReturnType<typeof koffi.load>) => T): T | null {
  if (process.platform !== "linux") return null
  try {
    return bind(koffi.load("libc.so.6"))
  } catch {
    return null // another C library, or one without them
  }
}

/** madvise(2) advice for pages of 2 MB, on systems that grant them on request. */
const MADV_HUGEPAGE = 14
/** mallopt(3) */
const M_TRIM_THRESHOLD = -1
const M_MMAP_THRESHOLD = -3
const M_MMAP_MAX = -4
/** glibc's own default, and the largest values that its adaptive thresholds reach. */
const MOST_MAPS = 65_536
const MOST_THRESHOLD = 32 * 2 ** 20
const HUGE_PAGE = 2n ** 21n
/** Panels that are filled up, and what else a session makes. */
const SPARE_BYTES = 2 ** 23
/** Below this there is little to gain. */
const LEAST_HUGE_BYTES = 2 ** 24

interface Malloc {
  malloc(bytes: number): bigint | null
  free(block: bigint): void
  mallopt(parameter: number, value: number): number
  madvise(start: bigint, bytes: number, advice: number): number
  trim(keep: number): number
}
let loaded: Malloc | null | undefined

function loadMalloc(): Malloc | null {
  return fromGlibc((libc) => {
    const named = <T>(prototype: string) => libc.func(prototype) as unknown as T
    const mallopt = named<Malloc["mallopt"]>("int mallopt(int, int)")
    mallopt(M_MMAP_THRESHOLD, MOST_THRESHOLD)
    mallopt(M_TRIM_THRESHOLD, 2 * MOST_THRESHOLD)
    return {
      malloc: named("void *malloc(size_t)"),
      free: named("void free(void *)"),
      mallopt,
      trim: named("int malloc_trim(size_t)"),
      madvise: named(MADVISE),
    }
  })
}

/**
 * Makes a session with constants of `bytes` so that what it keeps of them lies on huge pages: with
 * pages of 4 KB, reading all weights for each token misses the tables of pages at every one.
 *
 * ONNX Runtime takes the memory of packed weights from malloc and offers no way to give it any. So
 * that much of the heap is asked for, advised, and freed again: malloc's next addresses are there.
 */
export function onHugePages<T>(bytes: number, makeSession: () => T): T {
  if (bytes < LEAST_HUGE_BYTES) return makeSession()
  loaded ??= loadMalloc()
  if (!loaded) return makeSession()
  const { malloc, free, mallopt, madvise, trim } = loaded
  mallopt(M_MMAP_MAX, 0) // all from the heap, none as a map of its own
  mallopt(M_TRIM_THRESHOLD, 2 ** 31 - 1)
  try {
    // A plain copy of the constants comes first, and goes when they are packed.
    const size = 2 * bytes + SPARE_BYTES
    const block = malloc(size)
    if (block !== null) {
      const start = ((block + HUGE_PAGE - 1n) / HUGE_PAGE) * HUGE_PAGE
      madvise(start, Number(block + BigInt(size) - start), MADV_HUGEPAGE)
      free(block)
    }
    return makeSession()
  } finally {
    mallopt(M_TRIM_THRESHOLD, 2 * MOST_THRESHOLD)
    mallopt(M_MMAP_MAX, MOST_MAPS)
    trim(0) // what the plain copy took
  }
}

/** Asks for huge pages for memory that has not been written to. */
export function adviseHugePages({ buffer, byteOffset, byteLength }: Uint8Array): void {
  if (byteLength < LEAST_HUGE_BYTES) return
  loaded ??= loadMalloc()
  if (!loaded) return
  const begin = koffi.address(buffer) + BigInt(byteOffset)
  const start = ((begin + HUGE_PAGE - 1n) / HUGE_PAGE) * HUGE_PAGE
  loaded.madvise(start, Number(begin + BigInt(byteLength) - start), MADV_HUGEPAGE)
}

/** Linux 5.14's madvise(2): make these pages writable now. */
const MADV_POPULATE_WRITE = 23
const PAGE_BYTES = 4096
/** Below this the call costs more than the page faults. */
const LEAST_PREFAULT_BYTES = 2 ** 20

type Madvise = {
  async: (start: bigint, bytes: number, advice: number, done: () => void) => void
}
let madvise: Madvise | null | undefined

/**
 * Has the kernel make an array's pages on another thread, while this one fills it from the front:
 * fresh memory costs a fault a page otherwise, which takes longer than reading a file into it. Only
 * a matter of speed; where the system knows no such call nothing happens.
 */
export function prefault({ buffer, byteOffset, byteLength }: ArrayBufferView): Promise<void> {
  if (byteLength < LEAST_PREFAULT_BYTES) return Promise.resolve()
  madvise ??= fromGlibc((libc) => libc.func(MADVISE) as unknown as Madvise)
  if (!madvise) return Promise.resolve() // pages are then made one by one, as they are written
  const { async: call } = madvise
  const begin = koffi.address(buffer) + BigInt(byteOffset)
  const start = begin - (begin % BigInt(PAGE_BYTES)) + BigInt(PAGE_BYTES)
  const bytes = byteLength - 2 * PAGE_BYTES
  return new Promise((resolve) => call(start, bytes, MADV_POPULATE_WRITE, resolve))
}

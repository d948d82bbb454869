import { fromGlibc, MADVISE } from "./libc.ts"

/** madvise(2): pages of 2 MB here, where the system gives them to those that ask. */
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
const LEAST_BYTES = 2 ** 24

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
  if (bytes < LEAST_BYTES) return makeSession()
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

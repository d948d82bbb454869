import koffi from "koffi"

export const MADVISE = "int madvise(void *, size_t, int)"

/** Functions of the GNU C library that Linux programs have; null where the system has another. */
export function fromGlibc<T>(bind: (library: ReturnType<typeof koffi.load>) => T): T | null {
  if (process.platform !== "linux") return null
  try {
    return bind(koffi.load("libc.so.6"))
  } catch {
    return null // another C library, or one without them
  }
}

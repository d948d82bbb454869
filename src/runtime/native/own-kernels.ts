import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { turns } from "../../host/turns.ts"
import type { HostKernel, HostUpdates } from "../device.ts"
import type { Panels } from "../onnx/lowering.ts"
import { adviseHugePages } from "./c-library.ts"
import { koffi } from "./koffi.ts"
import { type Pointer, runtimeTable } from "./ort-api.ts"

/** Our own kernels for products (native/), as this processor has them. */
export interface OwnKernels {
  /**
   * The instructions that multiply bfloat16 numbers here; undefined: none, and `problem` says why.
   */
  readonly bf16: string | undefined
  /** Those of the exact float32 products; undefined where there are none. */
  readonly exact: string | undefined
  readonly problem?: string
}

type Update = { async: (...args: unknown[]) => void }

type PackRows = (
  ...given: [
    ...[x: Float32Array, count: number, columns: number],
    ...[panels: Uint8Array, first: number, rows: number],
  ]
) => void

interface Library extends OwnKernels {
  readonly adamw: Update
  readonly adamw8: Update
  domain(table: Pointer, threads: number): Pointer | null
  packedBytes(rows: number, columns: number): number
  readonly panelRows: () => number
  readonly pack: PackRows
}

const FILE = process.platform === "win32" ? "dftune.dll" : "dftune.so"
const PLATFORM = `${process.platform}-${process.arch}`
let loaded: Library | OwnKernels | undefined

/** What runs here. `DFTUNE_NATIVE=none` in the environment leaves the library out. */
export function ownKernels(): OwnKernels {
  loaded ??= load()
  return loaded
}

function load(): Library | OwnKernels {
  const none = (problem: string) => ({ bf16: undefined, exact: undefined, problem })
  if (process.env.DFTUNE_NATIVE === "none") return none("DFTUNE_NATIVE=none leaves them out")
  const path = fileURLToPath(
    new URL(`../../../native/prebuilt/${PLATFORM}/${FILE}`, import.meta.url),
  )
  if (!existsSync(path)) return none(`there is no library for ${PLATFORM}`)
  try {
    const library = koffi.load(path)
    const named = <T>(prototype: string) => library.func(prototype) as unknown as T
    const names = named<(isExact: number) => string>("const char *dftune_kernels(int isExact)")
    const [bf16, exact] = [names(0) || undefined, names(1) || undefined]
    return {
      bf16,
      exact,
      ...(bf16 ? {} : { problem: "this processor has no instructions for bfloat16 products" }),
      domain: named("void *dftune_domain(const void *table, int threads)"),
      packedBytes: named("double dftune_packed_bytes(int64_t rows, int64_t columns)"),
      adamw: named(ADAMW),
      adamw8: named(ADAMW8),
      panelRows: named("int dftune_panel_rows()"),
      pack: named(PACK),
    }
  } catch (error) {
    return none((error as Error).message) // another C library than the one it was built for
  }
}

const PACK =
  "void dftune_pack(const void *x, int64_t count, int64_t columns, void *panels, " +
  "int64_t first, int64_t rows)"

const isLibrary = (kernels: OwnKernels): kernels is Library => "domain" in kernels

let domain: Pointer | null | undefined

/** Panels lie in pieces of this size, so that the system can give them large pages. */
const PIECE_BYTES = 2 ** 26
const ALIGNMENT = 64
let piece = { memory: new ArrayBuffer(0), used: 0 }

function panelMemory(bytes: number): Uint8Array {
  if (piece.used + bytes > piece.memory.byteLength) {
    piece = { memory: new ArrayBuffer(Math.max(bytes, PIECE_BYTES)), used: 0 }
    adviseHugePages(new Uint8Array(piece.memory))
  }
  const panels = new Uint8Array(piece.memory, piece.used, bytes)
  piece.used = Math.ceil((piece.used + bytes) / ALIGNMENT) * ALIGNMENT
  return panels
}

/** How matrices of bfloat16 are held for products; undefined where nothing multiplies them. */
export function ownPanels(): Panels | undefined {
  const kernels = ownKernels()
  if (!isLibrary(kernels) || kernels.bf16 === undefined) return undefined
  return {
    bytes: (rows, columns) => kernels.packedBytes(rows, columns),
    together: kernels.panelRows(),
    place: (rows, columns) => panelMemory(kernels.packedBytes(rows, columns)),
    fill(place, some, { first, rows, columns }) {
      kernels.pack(some, some.length / columns, columns, place, first, rows)
    },
  }
}

const ADAMW = "void dftune_adamw(void *p, void *g, int64_t n, void *m, void *v, void *scalars)"
const ADAMW8 =
  "void dftune_adamw8(void *p, void *g, int64_t n, void *mc, void *ms, void *vc, void *vs, " +
  "void *scalars, void *sv, void *sm, void *sf, void *uv, void *um, void *uf)"

/**
 * The updates of native/src, away from the event loop on at most so many threads; undefined without
 * the library.
 */
export function ownUpdates(threads: number): HostUpdates | undefined {
  const kernels = ownKernels()
  if (!isLibrary(kernels)) return undefined
  const inTurn = turns(threads)
  const away =
    (update: Update): HostKernel =>
    (parameter, gradient, ...rest) =>
      inTurn(
        () =>
          new Promise((resolve, reject) => {
            const done = (error: unknown) => (error ? reject(error) : resolve())
            update.async(parameter, gradient, parameter!.length, ...rest, done)
          }),
      )
  return { adamw: away(kernels.adamw), adamw8: away(kernels.adamw8) }
}

/** The operators, to be added to a session's options; null where there are none. */
export function ownOperators(threads: number): Pointer | null {
  const kernels = ownKernels()
  if (domain === undefined) {
    domain = isLibrary(kernels) ? kernels.domain(runtimeTable(), threads) : null
  }
  return domain
}

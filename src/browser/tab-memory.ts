/** What a model and its runs take of a tab, and whether the tab has it. */
import {
  decoderParameters,
  elementCount,
  linearWeights,
  type ModelConfig,
  quantizedModelBytes,
  type WeightQuantization,
} from "../models/index.ts"

/** In bytes. */
export interface MemoryNeed {
  /** Ordinary arrays. */
  readonly arrays: number
  /** WebAssembly's memory. */
  readonly heap: number
}

/** The weights as a tab holds them. */
export function heldWeights({ shape }: ModelConfig, quantization?: WeightQuantization): number {
  if (quantization) return quantizedModelBytes(shape, quantization)
  return 4 * decoderParameters(shape).reduce((sum, { shape }) => sum + elementCount(shape), 0)
}

/** What reading a model takes: the weights, and of those made codes the largest in float32. */
export function loadingNeed(config: ModelConfig, quantization?: WeightQuantization): MemoryNeed {
  const linears = linearWeights(config.shape)
  const sizes = decoderParameters(config.shape)
    .filter(({ name }) => linears.has(name))
    .map(({ shape }) => 4 * elementCount(shape))
  const scratch = quantization ? Math.max(...sizes) : 0
  return { arrays: heldWeights(config, quantization) + scratch, heap: 0 }
}

/** WebAssembly's addresses have 32 bits; the runtime's own code and data lie there too. */
const HEAP_END = 4 * 2 ** 30
const RUNTIME_BYTES = 64 * 2 ** 20
/** No browser gives a tab so many arrays; more is not even tried. */
const ARRAYS_END = 16 * 2 ** 30
/** Of a device's memory, what one tab may take before others are pushed out. */
const SHARE = 0.5
/** Arrays are reserved in pieces that any browser can make. */
const PIECE = 256 * 2 ** 20
const PAGE = 2 ** 16

interface MemoryScope {
  readonly navigator?: { readonly deviceMemory?: number }
  readonly WebAssembly?: {
    readonly Memory: new (size: { initial: number; maximum: number }) => object
  }
}

export const gigabytes = (bytes: number) =>
  bytes < 1e8 ? `${Math.ceil(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`

/**
 * Why this tab cannot hold so much; undefined where it can. It is tried: the memory is reserved,
 * and let go of at once. Browsers fill reserved memory only as it is written, so what the device
 * has in all counts too, where the browser tells it.
 */
export function memoryProblem({ arrays, heap }: MemoryNeed): string | undefined {
  const scope = globalThis as MemoryScope
  const need = `it needs about ${gigabytes(arrays + heap)}`
  if (heap > HEAP_END - RUNTIME_BYTES) {
    return `it needs about ${gigabytes(heap)} of WebAssembly's memory, which ends at 4.3 GB`
  }
  if (arrays > ARRAYS_END) return `${need}, which is more than any tab has`
  const device = scope.navigator?.deviceMemory
  if (device !== undefined && arrays + heap > SHARE * device * 2 ** 30) {
    const room = gigabytes(SHARE * device * 2 ** 30)
    return `${need}, and a tab may take ${room} here (half of the ${device} GiB that the browser tells of)`
  }
  try {
    reserve(scope, { arrays, heap })
    return undefined
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    return `${need}, which this browser did not give (${error.message})`
  }
}

function reserve({ WebAssembly }: MemoryScope, { arrays, heap }: MemoryNeed): void {
  const held: object[] = []
  for (let left = arrays; left > 0; left -= PIECE) {
    held.push(new ArrayBuffer(Math.ceil(Math.min(left, PIECE))))
  }
  const pages = Math.ceil(heap / PAGE)
  if (WebAssembly) held.push(new WebAssembly.Memory({ initial: pages, maximum: pages }))
}

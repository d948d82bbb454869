import koffi from "koffi"

/**
 * Of calls made away from the event loop. With koffi's own 128 KiB, kernels that are compiled while
 * they run (WebGPU's) end the process. To be said before the first library is loaded.
 */
const STACK_BYTES = 2 ** 21

if (koffi.config().async_stack_size !== STACK_BYTES) {
  koffi.config({ ...koffi.config(), async_stack_size: STACK_BYTES })
}

export { koffi }

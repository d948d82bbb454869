import { serveTab, TabService, type WebRuntime } from "../../../src/browser/index.ts"

/**
 * Only the build that is needed is fetched: 14 MB of WebAssembly, or 17 MB that can use WebGPU too.
 */
const service = new TabService(async (device) => {
  const runtime =
    device === "webgpu"
      ? await import("onnxruntime-web/jspi")
      : await import("onnxruntime-web/wasm")
  return runtime as unknown as WebRuntime
})

serveTab(service, self)

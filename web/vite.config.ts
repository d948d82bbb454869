import { cpSync, createReadStream, existsSync, mkdirSync, statSync } from "node:fs"
import { extname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { defaultClientConditions, defineConfig, type Plugin } from "vite"

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/**
 * What the pages fetch and no bundler should read: ONNX Runtime's two builds and the bundled model.
 */
const STATIC: Readonly<Record<string, readonly [folder: string, files: readonly string[]]>> = {
  ort: [
    here("../node_modules/onnxruntime-web/dist"),
    ["", ".jspi"].flatMap((build) =>
      ["mjs", "wasm"].map((kind) => `ort-wasm-simd-threaded${build}.${kind}`),
    ),
  ],
  model: [
    here("../demo/model"),
    [
      ..."config.json generation_config.json tokenizer.json tokenizer_config.json".split(" "),
      "model.safetensors",
    ],
  ],
}
const TYPES: Readonly<Record<string, string>> = {
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
  ".json": "application/json",
}

function staticFiles(): Plugin {
  const pathOf = (url: string) => {
    const [, folder, name] = /^\/(\w+)\/([\w.-]+)(?:\?.*)?$/.exec(url) ?? []
    const [from, files] = STATIC[folder ?? ""] ?? []
    return from && files?.includes(name!) ? join(from, name!) : undefined
  }
  let out = ""
  return {
    name: "static-files",
    configResolved({ build }) {
      out = build.outDir
    },
    configureServer(server) {
      server.middlewares.use((request, response, next) => {
        const path = pathOf(request.url ?? "")
        if (!path || !existsSync(path)) return next()
        response.setHeader("content-type", TYPES[extname(path)] ?? "application/octet-stream")
        response.setHeader("content-length", statSync(path).size)
        createReadStream(path).pipe(response)
      })
    },
    closeBundle() {
      for (const [folder, [from, files]] of Object.entries(STATIC)) {
        mkdirSync(join(out, folder), { recursive: true })
        for (const name of files) cpSync(join(from, name), join(out, folder, name))
      }
    },
  }
}

/** Threads need shared memory, which browsers give to isolated pages only. */
const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
}

export default defineConfig({
  root: here("."),
  base: "./",
  plugins: [staticFiles()],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", ...defaultClientConditions] },
  worker: { format: "es" },
  optimizeDeps: { exclude: ["onnxruntime-web"] },
  server: { headers: ISOLATION },
  preview: { headers: ISOLATION },
  build: {
    outDir: here("../dist/web"),
    emptyOutDir: true,
    target: "es2023",
    // A page for each folder.
    rolldownOptions: {
      input: { runs: here("index.html"), play: here("play/index.html") },
      checks: { bundlerTimings: false }, // a busy machine is nothing to warn of
    },
  },
})

import { fileURLToPath } from "node:url"
import { defineConfig } from "vite"

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** The report's view: one script and one style, which src/report puts into each report. */
export default defineConfig({
  root: here("."),
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  define: { "process.env.NODE_ENV": JSON.stringify("production") },
  publicDir: false,
  build: {
    outDir: here("../dist/report-view"),
    emptyOutDir: true,
    target: "es2023",
    rolldownOptions: { checks: { bundlerTimings: false } },
    lib: {
      entry: here("src/report/main.tsx"),
      formats: ["iife"],
      name: "dftuneReport",
      fileName: () => "view.js",
      cssFileName: "view",
    },
  },
})

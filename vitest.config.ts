import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { isBuilt } from "./test/built.ts"

const place = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** What starts threads and processes of the package; see test/built-worker.ts. */
const startsFromBuild = {
  name: "starts-from-build",
  enforce: "pre" as const,
  load(id: string) {
    if (id !== place("src/host/worker.ts")) return null
    return `export * from ${JSON.stringify(place("test/built-worker.ts"))}`
  },
}

export default defineConfig({
  plugins: isBuilt() ? [startsFromBuild] : [],
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks", // onnxruntime-node keeps native threads: a process per file, not a thread
    maxWorkers: 2,
    globalSetup: "./test/software-gpu.ts",
    testTimeout: 120_000,
    hookTimeout: 240_000,
    expect: { poll: { timeout: 60_000 } },
    reporters: ["default", "./test/closing-line.ts"],
  },
})

import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks", // onnxruntime-node keeps native threads: a process per file, not a thread
    maxWorkers: 2,
    globalSetup: "./test/software-gpu.ts",
    testTimeout: 60_000,
    hookTimeout: 120_000,
    reporters: ["default", "./test/closing-line.ts"],
  },
})

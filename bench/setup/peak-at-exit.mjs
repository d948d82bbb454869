/** Loaded before the built program: writes the most memory that it held to a file as it ends. */
import { writeFileSync } from "node:fs"
import { peakMemory } from "../../dist/host/peak-memory.js"

process.on("exit", () => writeFileSync(process.env.DFTUNE_BENCH_PEAK, String(peakMemory())))

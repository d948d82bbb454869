import { availableParallelism } from "node:os"

/** Processes at once: more wait, so that a rollout's programs do not take the machine. */
export const MOST_PROCESSES = Math.max(1, Math.min(8, availableParallelism()))

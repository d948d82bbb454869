import { availableParallelism } from "node:os"

/** Processes at once: more wait, so that a rollout's programs do not take the machine. */
export const MOST_PROCESSES = Math.max(1, Math.min(8, availableParallelism()))

/** At most `most` of what is given run at once; the others wait in order. */
export function turns(most: number): <T>(work: () => Promise<T>) => Promise<T> {
  let running = 0
  const waiting: (() => void)[] = []
  return async (work) => {
    if (running === most) await new Promise<void>((turn) => waiting.push(turn))
    else running++
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else running--
    }
  }
}

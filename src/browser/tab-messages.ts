/** `TabService` across a message port: a worker serves it, a page calls it. */
import { InputError } from "../errors.ts"
import type { TabService } from "./tab-service.ts"

/** What a worker's global scope and a `Worker` have in common. */
export interface MessageEnd {
  postMessage(message: unknown): void
  addEventListener(type: "message", listener: (event: { readonly data: unknown }) => void): void
}

const METHODS = [
  "open",
  "load",
  "saved",
  "forget",
  "rows",
  "memory",
  "start",
  "advance",
  "sample",
  "look",
  "adapter",
  "release",
] as const satisfies readonly (keyof TabService)[]
type Method = (typeof METHODS)[number]

/** Which argument of a method is told how far it is; the port carries it as messages of its own. */
const PROGRESS: Partial<Record<Method, number>> = { load: 2, start: 2, advance: 1, sample: 2 }

interface Call {
  readonly id: number
  readonly call: Method
  readonly args: readonly unknown[]
}

type Answer = { readonly id: number } & (
  | { readonly value: unknown }
  | { readonly problem: string; readonly isInput: boolean }
  | { readonly what: string; readonly share: number | undefined }
)

/** `TabService` as a page sees it: the same methods. */
export type TabClient = Pick<TabService, Method>

/** Answers the calls that come to this worker, one after the other. */
export function serveTab(service: TabService, end: MessageEnd): void {
  let last: Promise<void> = Promise.resolve()
  const answer = (message: Answer) => end.postMessage(message)
  end.addEventListener("message", ({ data }) => {
    if (!isCall(data)) return
    const { id, call, args } = data
    const progress = (what: string, share?: number) => answer({ id, what, share })
    last = last.then(async () => {
      try {
        const method = service[call].bind(service) as (...args: unknown[]) => Promise<unknown>
        const given: unknown[] = [...args]
        const place = PROGRESS[call]
        if (place !== undefined) given[place] = progress
        answer({ id, value: await method(...given) })
      } catch (error) {
        const problem = error instanceof Error ? error.message : String(error)
        answer({ id, problem, isInput: error instanceof InputError })
      }
    })
  })
}

function isCall(data: unknown): data is Call {
  const call = (data as Partial<Call> | null)?.call
  return METHODS.some((method) => method === call)
}

/**
 * Calls the service of a worker. Errors come as they were thrown: InputError for what the user can
 * mend.
 */
export function connectTab(
  end: MessageEnd,
  { onProgress }: { readonly onProgress?: (what: string, share?: number) => void } = {},
): TabClient {
  const waiting = new Map<number, (answer: Answer) => void>()
  end.addEventListener("message", ({ data }) => {
    const answer = data as Answer
    waiting.get(answer.id)?.(answer)
  })
  let next = 0
  const called =
    (call: Method) =>
    (...args: unknown[]) =>
      new Promise((resolve, reject) => {
        const id = next++
        waiting.set(id, (answer) => {
          if ("what" in answer) return onProgress?.(answer.what, answer.share)
          waiting.delete(id)
          if ("value" in answer) return resolve(answer.value)
          reject(answer.isInput ? new InputError(answer.problem) : new Error(answer.problem))
        })
        end.postMessage({ id, call, args } satisfies Call)
      })
  return Object.fromEntries(
    METHODS.map((method) => [method, called(method)]),
  ) as unknown as TabClient
}

import type { Page } from "playwright-core"
import type { TabClient } from "../../src/browser/tab-messages.ts"

type Method = keyof TabClient

/** The playground's worker in a page of its own, driven from Node: `TabService` by its messages. */
export class TabWorker {
  readonly #page: Page

  private constructor(page: Page) {
    this.#page = page
  }

  /** `worker` is its script's path from the server's root; the page must be of that server. */
  static async start(page: Page, worker: string): Promise<TabWorker> {
    await page.evaluate((worker) => {
      interface Answer {
        readonly id: number
        readonly value?: unknown
        readonly problem?: string
      }
      const scope = globalThis as unknown as {
        readonly Worker: new (url: string, options: object) => EventTarget
        tabCall: (name: string, args: unknown[]) => Promise<unknown>
      }
      const tab = new scope.Worker(worker, { type: "module" }) as EventTarget & {
        postMessage(message: object): void
      }
      const waiting = new Map<number, (answer: Answer) => void>()
      tab.addEventListener("message", (event) => {
        const { data } = event as unknown as { data: Answer }
        waiting.get(data.id)?.(data)
      })
      let next = 0
      scope.tabCall = (call, args) =>
        new Promise((resolve, reject) => {
          const id = next++
          waiting.set(id, (answer) => {
            if (!("value" in answer || "problem" in answer)) return // progress
            waiting.delete(id)
            if ("value" in answer) resolve(answer.value)
            else reject(new Error(answer.problem))
          })
          tab.postMessage({ id, call, args })
        })
    }, worker)
    return new TabWorker(page)
  }

  /** An address of the page's server. */
  url(path: string): string {
    return new URL(path, this.#page.url()).href
  }

  call<M extends Method>(
    name: M,
    ...args: Parameters<TabClient[M]>
  ): Promise<Awaited<ReturnType<TabClient[M]>>> {
    const called = this.#page.evaluate(
      ({ name, args }) => {
        const { tabCall } = globalThis as unknown as {
          readonly tabCall: (name: string, args: unknown[]) => Promise<unknown>
        }
        return tabCall(name, args)
      },
      { name, args: args as unknown[] },
    )
    return called as Promise<Awaited<ReturnType<TabClient[M]>>>
  }
}

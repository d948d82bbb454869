/** Work that leads to no download, whatever the environment says. */
import { AsyncLocalStorage } from "node:async_hooks"

const scope = new AsyncLocalStorage<true>()

/** Whether only the cache may be used: HF_HUB_OFFLINE, or within {@link withoutDownloads}. */
export const isOffline = (): boolean =>
  scope.getStore() === true || /^(1|true|yes|on)$/i.test(process.env.HF_HUB_OFFLINE ?? "")

/** Runs `work`; what it starts, now and later, finds models in the cache alone. */
export const withoutDownloads = <T>(work: () => T): T => scope.run(true, work)

const RELOADED = "dftune-isolated"
/**
 * A service worker is there within moments, or never: a browser may keep it from starting without a
 * word.
 */
const READY_MS = 4000

/**
 * Where the host sets no isolation headers, has a service worker add them and loads the page again,
 * once. Without one (file hosts without https) everything runs on one thread.
 */
export async function isolate(): Promise<void> {
  if (window.crossOriginIsolated || !("serviceWorker" in navigator)) return
  if (!window.isSecureContext || sessionStorage.getItem(RELOADED)) return
  if (!(await Promise.race([isServing(), after(READY_MS)]))) return
  sessionStorage.setItem(RELOADED, "yes")
  location.reload()
  await new Promise(() => {})
}

/**
 * Whether the service worker is there; a browser that refuses it gives one thread, which the page
 * says.
 */
async function isServing(): Promise<boolean> {
  try {
    await navigator.serviceWorker.register(new URL("../isolate.js", location.href))
    await navigator.serviceWorker.ready
    return true
  } catch {
    return false
  }
}

const after = (milliseconds: number) =>
  new Promise<false>((resolve) => setTimeout(() => resolve(false), milliseconds))

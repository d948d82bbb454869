const RELOADED = "dftune-isolated"

/**
 * Where the host sets no isolation headers, has a service worker add them and loads the page again,
 * once. Without one (file hosts without https) everything runs on one thread.
 */
export async function isolate(): Promise<void> {
  if (window.crossOriginIsolated || !("serviceWorker" in navigator)) return
  if (!window.isSecureContext || sessionStorage.getItem(RELOADED)) return
  try {
    await navigator.serviceWorker.register(new URL("../isolate.js", location.href))
    await navigator.serviceWorker.ready
    sessionStorage.setItem(RELOADED, "yes")
    location.reload()
    await new Promise(() => {})
  } catch {
    // A browser that refuses service workers: the page says that it has one thread.
  }
}

/**
 * A service worker for file hosts that set no headers: it adds the two that isolate the page, so
 * that the browser gives it shared memory, which threads need. The page registers it and reloads
 * once.
 */
self.addEventListener("install", () => self.skipWaiting())
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()))
self.addEventListener("fetch", (event) => {
  const { request } = event
  const isOwn = new URL(request.url).origin === self.location.origin
  if (!isOwn || (request.cache === "only-if-cached" && request.mode !== "same-origin")) return
  event.respondWith(isolated(request))
})

async function isolated(request) {
  const response = await fetch(request)
  if (response.status === 0) return response
  const headers = new Headers(response.headers)
  headers.set("Cross-Origin-Opener-Policy", "same-origin")
  headers.set("Cross-Origin-Embedder-Policy", "require-corp")
  const { body, status, statusText } = response
  return new Response(status === 204 || status === 304 ? null : body, {
    status,
    statusText,
    headers,
  })
}

/**
 * The token stands in the fragment, which no browser sends: one POST exchanges it for a cookie, and
 * it leaves the address, so that neither history nor a copied link holds it.
 */
export async function exchangeToken(): Promise<void> {
  const token = /^#token=([\w-]+)$/.exec(location.hash)?.[1]
  if (token === undefined) return
  history.replaceState(null, "", "#/")
  await sendToken(token)
}

/** Whether the server knows the token. */
export async function sendToken(token: string): Promise<boolean> {
  const answer = await fetch("/api/session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
  })
  return answer.ok
}

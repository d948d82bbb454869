import { useEffect, useState } from "preact/hooks"

/** `#/run/NAME/tokens?x=1` as its parts, decoded, and its query. */
export interface Route {
  readonly parts: readonly string[]
  readonly query: URLSearchParams
}

export function routeOf(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?")
  const parts = path === "" ? [] : path.split("/").map(decoded)
  return { parts, query: new URLSearchParams(query) }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part // somebody's own text in the address
  }
}

export const linkTo = (...parts: readonly string[]): string =>
  `#/${parts.map(encodeURIComponent).join("/")}`

/** The address's fragment, drawn again whenever it changes. */
export function useRoute(): Route {
  const [hash, setHash] = useState(location.hash)
  useEffect(() => {
    const changed = () => setHash(location.hash)
    addEventListener("hashchange", changed)
    return () => removeEventListener("hashchange", changed)
  }, [])
  return routeOf(hash)
}

/** Who may ask: a program with the token, or the page that exchanged it for a cookie. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto"
import type { Context, MiddlewareHandler } from "hono"
import { getCookie } from "hono/cookie"
import { refusal } from "./refusal.ts"

export const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
  "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const HEADERS: Readonly<Record<string, string>> = {
  "Content-Security-Policy": CONTENT_SECURITY_POLICY,
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cache-Control": "no-store",
}

/** Sent with every answer, errors too; the playground's files state their own policy. */
export const securityHeaders: MiddlewareHandler = async (c, next) => {
  await next()
  for (const [name, value] of Object.entries(HEADERS)) {
    if (!c.res.headers.has(name)) c.res.headers.set(name, value)
  }
}

/**
 * What opens this server until it ends: the token, and the cookie's value that it is exchanged for.
 */
export interface Secrets {
  readonly token: string
  readonly session: string
}

const secret = () => randomBytes(32).toString("base64url")
export const newSecrets = (): Secrets => ({ token: secret(), session: secret() })

/** In a time that does not tell how much of it is right, nor how long the right one is. */
export function isSame(given: string, wanted: string): boolean {
  const hash = (text: string) => createHash("sha256").update(text).digest()
  return timingSafeEqual(hash(given), hash(wanted))
}

/** Cookies are shared by all ports of a host: the name says whose it is. */
export const cookieName = (port: number): string => `dftune-${port}`

interface Guarded {
  readonly port: number
  readonly secrets: Secrets
}

/** A name that is not ours means that a page elsewhere had it point here (DNS rebinding). */
export function hostGuard({ port }: Pick<Guarded, "port">): MiddlewareHandler {
  const hosts = new Set([`127.0.0.1:${port}`, `localhost:${port}`])
  return async (c, next) => {
    const host = c.req.header("host") ?? ""
    if (!hosts.has(host.toLowerCase())) {
      throw refusal(421, `this server answers to ${[...hosts].join(" and ")}, not to "${host}"`)
    }
    await next()
  }
}

const bearerOf = (c: Context) => /^Bearer +(\S+) *$/i.exec(c.req.header("authorization") ?? "")?.[1]

/** Where the request comes from, by its own Host, which hostGuard has looked at. */
const ownOrigin = (c: Context) => `http://${c.req.header("host")!.toLowerCase()}`

/**
 * What changes or computes: POST, JSON, and from this origin (scheme, host and port). A request
 * without an Origin is no page's, and needs the token itself.
 */
export function requestGuard(isPublic: (path: string) => boolean): MiddlewareHandler {
  return async (c, next) => {
    const { method } = c.req
    const origin = c.req.header("origin")
    if (origin !== undefined && origin !== ownOrigin(c)) {
      throw refusal(403, `requests from the origin ${origin} are not answered`)
    }
    if (method !== "GET" && method !== "HEAD") {
      if (method !== "POST") {
        throw refusal(405, `${method} is not answered here`, { headers: { Allow: "GET, POST" } })
      }
      const type = (c.req.header("content-type") ?? "").split(";")[0]!.trim().toLowerCase()
      if (type !== "application/json") {
        throw refusal(415, `expected Content-Type: application/json, got ${type || "none"}`)
      }
      const byToken = bearerOf(c) !== undefined
      if (origin === undefined && !byToken && !isPublic(c.req.path)) {
        throw refusal(403, "a request without an Origin needs Authorization: Bearer TOKEN")
      }
    }
    await next()
  }
}

/** The token as a Bearer, or the cookie; a wrong token is not made good by a cookie. */
export function tokenGuard(
  { port, secrets }: Guarded,
  isPublic: (path: string) => boolean,
): MiddlewareHandler {
  return async (c, next) => {
    if (!isPublic(c.req.path)) {
      const header = c.req.header("authorization")
      const known =
        header === undefined
          ? isSame(getCookie(c, cookieName(port)) ?? "", secrets.session)
          : isSame(bearerOf(c) ?? "", secrets.token)
      if (!known) {
        throw refusal(401, "expected Authorization: Bearer TOKEN, with the token of the URL", {
          code: "invalid_api_key",
          headers: { "WWW-Authenticate": "Bearer" },
        })
      }
    }
    await next()
  }
}

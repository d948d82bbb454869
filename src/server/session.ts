import { Hono } from "hono"
import { setCookie } from "hono/cookie"
import { isObject } from "../formats/json.ts"
import { jsonBody } from "./body.ts"
import { cookieName, isSame, type Secrets } from "./guard.ts"
import { refusal } from "./refusal.ts"

export const SESSION_PATH = "/api/session"

/** POST {"token": ...} from a page of this origin: the cookie that stands for the token. */
export function sessionRoute({ port, secrets }: { port: number; secrets: Secrets }): Hono {
  return new Hono().post(SESSION_PATH, async (c) => {
    const body: unknown = await jsonBody(c)
    const given = isObject(body) && typeof body.token === "string" ? body.token : ""
    if (c.req.header("origin") === undefined || !isSame(given, secrets.token)) {
      throw refusal(401, "expected the token of the URL, from a page of this server")
    }
    setCookie(c, cookieName(port), secrets.session, {
      httpOnly: true,
      sameSite: "Strict",
      path: "/",
    })
    return c.body(null, 204)
  })
}

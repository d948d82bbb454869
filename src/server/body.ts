import type { Context } from "hono"
import type { HTTPException } from "hono/http-exception"
import type { z } from "zod"
import { pathText, problems } from "../config/issues.ts"
import { refusal } from "./refusal.ts"

/** A request's JSON; undefined where its body is none. */
export const jsonBody = (c: Context): Promise<unknown> => c.req.json().catch(() => undefined)

/** A request's JSON of this shape; the 400 of another names its first fault. */
export async function bodyAs<Out>(schema: z.ZodType<Out>, c: Context): Promise<Out> {
  return checkedBody(schema, await jsonBody(c))
}

/** @throws the 400 of another shape, with its first fault by its key */
export function checkedBody<Out>(schema: z.ZodType<Out>, body: unknown): Out {
  const read = schema.safeParse(body)
  if (read.success) return read.data
  throw wrongBody(read.error, body)
}

/** In the words that a config has for it: what was expected, and what came. */
function wrongBody({ issues }: z.ZodError, body: unknown): HTTPException {
  const [{ path, at, message }] = problems(issues, body, () => []) as [
    ReturnType<typeof problems>[number],
  ]
  const key = pathText(path)
  const said = at === "key" ? "is not supported by this server" : message
  return refusal(400, `${key === "" ? "the request" : key}: ${said}`, key ? { param: key } : {})
}

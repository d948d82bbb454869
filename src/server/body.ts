import type { Context } from "hono"
import type { z } from "zod"
import { refusal } from "./refusal.ts"

/** A request's JSON; undefined where its body is none. */
export const jsonBody = (c: Context): Promise<unknown> => c.req.json().catch(() => undefined)

/** A request's JSON of this shape; the 400 of another names its first fault. */
export async function bodyAs<Out>(schema: z.ZodType<Out>, c: Context): Promise<Out> {
  const read = schema.safeParse(await jsonBody(c))
  if (read.success) return read.data
  const { path, message } = read.error.issues[0]!
  throw refusal(400, `${path.join(".") || "the request"}: ${message}`)
}

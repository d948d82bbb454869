import type { z } from "zod"
import { refusal } from "./refusal.ts"

/** A request's JSON of this shape; the 400 of another names its first fault. */
export function bodyAs<Out>(schema: z.ZodType<Out>, body: unknown): Out {
  const read = schema.safeParse(body)
  if (read.success) return read.data
  const { path, message } = read.error.issues[0]!
  throw refusal(400, `${path.join(".") || "the request"}: ${message}`)
}

import type { Context } from "hono"
import { HTTPException } from "hono/http-exception"
import type { ContentfulStatusCode } from "hono/utils/http-status"
import { InputError } from "../errors.ts"

/** What else a refusal says, by OpenAI's names. */
interface Details {
  /** The key of the request that is wrong. */
  readonly param?: string
  readonly code?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** The body of every error, in the form that OpenAI's clients read. */
export const errorBody = (status: number, message: string, { param, code }: Details = {}) => ({
  error: {
    message,
    type: status < 500 ? "invalid_request_error" : "server_error",
    param: param ?? null,
    code: code ?? null,
  },
})

/** An answer that is an error, to be thrown. */
export function refusal(
  status: ContentfulStatusCode,
  message: string,
  details: Details = {},
): HTTPException {
  const res = Response.json(errorBody(status, message, details), {
    status,
    ...(details.headers ? { headers: details.headers } : {}),
  })
  return new HTTPException(status, { message, res })
}

/**
 * What a fault is called outside: what the user can mend in words, what is ours without a stack.
 */
export function toldOutside(error: unknown): { readonly status: 400 | 500; readonly text: string } {
  if (error instanceof InputError) return { status: 400, text: error.message }
  return { status: 500, text: "the server failed at this request; its terminal says how" }
}

export function errorAnswer(error: Error, c: Context, say: (text: string) => void): Response {
  if (error instanceof HTTPException) return error.getResponse()
  const { status, text } = toldOutside(error)
  if (status === 500 && !c.req.raw.signal.aborted) say(error.stack ?? error.message)
  return c.json(errorBody(status, text), status)
}

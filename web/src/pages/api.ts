/** Asking the server; every refusal is an error in its words. */
import { isObject } from "../../../src/formats/json.ts"

export class Refused extends Error {
  readonly status: number
  /** What kind of refusal it is, where the server says it. */
  readonly code: string | undefined

  constructor(status: number, message: string, code?: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

async function answered(answer: Response): Promise<Response> {
  if (answer.ok) return answer
  const body: unknown = await answer.json().catch(() => undefined)
  const { message, code } = isObject(body) && isObject(body.error) ? body.error : {}
  throw new Refused(
    answer.status,
    typeof message === "string" ? message : answer.statusText,
    typeof code === "string" ? code : undefined,
  )
}

const UNREACHABLE = "The server does not answer. Was dftune serve ended?"

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const answer = await fetch(path, init).catch((error: unknown) => {
    if ((error as Error).name === "AbortError") throw error
    throw new Refused(0, UNREACHABLE)
  })
  return answered(answer)
}

export async function json<Answer>(path: string, signal?: AbortSignal): Promise<Answer> {
  return (await ask(path, signal ? { signal } : {})).json()
}

export async function bytes(path: string): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await (await ask(path)).arrayBuffer())
}

export async function post<Answer>(
  path: string,
  body: unknown,
  signal?: AbortSignal,
): Promise<Answer> {
  const answer = await ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    ...(signal ? { signal } : {}),
  })
  return answer.status === 204 ? (undefined as Answer) : answer.json()
}

export const runPath = (name: string, rest = ""): string =>
  `/api/runs/${encodeURIComponent(name)}${rest}`

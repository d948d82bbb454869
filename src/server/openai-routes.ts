/** /v1: models and completions as OpenAI's clients ask for them. */

import { type Context, Hono } from "hono"
import { parseJson } from "../formats/json.ts"
import type { Part } from "./answer-part.ts"
import { compute, type ReadyRequest, readyRequest } from "./completion.ts"
import { type AnswerForm, answerForm } from "./completion-answer.ts"
import { type Asked, askedChat, askedText } from "./completion-request.ts"
import type { Lanes } from "./lanes.ts"
import type { ModelLease, RegisteredModel, ServedModels } from "./models.ts"
import { errorBody, refusal, toldOutside } from "./refusal.ts"

/** A request that computes for longer is ended. */
const MOST_COMPUTE_MS = 10 * 60_000

export interface OpenAiOptions {
  readonly models: ServedModels
  readonly lanes: Lanes
  readonly say: (text: string) => void
  /** The longest that a request computes; ms. */
  readonly computeMs?: number
}

const listed = ({ id, created }: RegisteredModel) => ({
  id,
  object: "model",
  created,
  owned_by: "dftune",
})

export function openAiRoutes(options: OpenAiOptions): Hono {
  const { models } = options
  return new Hono()
    .get("/models", async (c) =>
      c.json({ object: "list", data: (await models.list()).map(listed) }),
    )
    .get("/models/:id{.+}", async (c) =>
      c.json(listed(await registered(models, c.req.param("id")))),
    )
    .post("/completions", async (c) => answered(c, askedText(await jsonOf(c)), options))
    .post("/chat/completions", async (c) => answered(c, askedChat(await jsonOf(c)), options))
}

async function jsonOf(c: Context): Promise<unknown> {
  const text = await c.req.text()
  try {
    return parseJson(text, "the request's body")
  } catch (error) {
    throw refusal(400, (error as Error).message)
  }
}

async function registered(models: ServedModels, name: string): Promise<RegisteredModel> {
  const model = await models.find(name)
  if (model) return model
  const names = (await models.list()).map(({ id }) => id)
  throw refusal(404, `model: there is no "${name}"; there is ${names.join(", ") || "none yet"}`, {
    code: "model_not_found",
    param: "model",
  })
}

async function answered(c: Context, asked: Asked, options: OpenAiOptions): Promise<Response> {
  const { models, lanes, computeMs = MOST_COMPUTE_MS } = options
  const model = await registered(models, asked.model)
  const gone = new AbortController()
  const signal = AbortSignal.any([c.req.raw.signal, gone.signal])
  const giveBackLane = await lanes.take(signal)
  const clock = setTimeout(() => gone.abort(tooLong(computeMs)), computeMs)
  let lease: ModelLease | undefined
  const release = async () => {
    clearTimeout(clock)
    const held = lease
    lease = undefined // given back once, whoever comes first
    await held?.giveBack()
    giveBackLane()
  }
  try {
    lease = await models.lease(model)
    const ready = readyRequest(asked, lease)
    const form = answerForm(asked, lease.open.tokenizer)
    const work: Work = { ready, lease, form, signal }
    if (!asked.stream) return c.json(await wholeAnswer(work).finally(release))
    const body = streamed(work, { release, gone, say: options.say })
    return c.body(body, 200, { "Content-Type": "text/event-stream; charset=utf-8" })
  } catch (error) {
    await release()
    throw error
  }
}

const tooLong = (ms: number) =>
  refusal(504, `the request computed for ${ms / 1000} s, the most that is given`)

interface Work {
  readonly ready: ReadyRequest
  readonly lease: ModelLease
  readonly form: AnswerForm
  readonly signal: AbortSignal
}

async function wholeAnswer({ ready, lease, form, signal }: Work): Promise<object> {
  const parts: Part[] = []
  const usage = await compute(ready, lease, { signal, onPart: (part) => parts.push(part) })
  return form.whole(parts, ready.requests.length * ready.asked.n, usage)
}

interface StreamOptions {
  readonly release: () => Promise<void>
  readonly gone: AbortController
  readonly say: (text: string) => void
}

/** Server-sent chunks. A slow reader does not hold the lane: what it may still read is bounded. */
function streamed(
  { ready, lease, form, signal }: Work,
  { release, gone, say }: StreamOptions,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  let open = true
  return new ReadableStream({
    start(controller) {
      const send = (data: string) => {
        if (open) controller.enqueue(encoder.encode(`data: ${data}\n\n`))
      }
      const onPart = (part: Part) => {
        const chunk = form.chunk(part)
        if (chunk) send(JSON.stringify(chunk))
      }
      compute(ready, lease, { signal, onPart })
        .then((usage) => {
          if (ready.asked.streamUsage) send(JSON.stringify(form.usageChunk(usage)))
          send("[DONE]")
        })
        .catch((error) => {
          if (!open) return
          const { status, text } = toldOutside(error)
          if (status === 500 && !signal.aborted) say((error as Error).stack ?? String(error))
          const told = signal.aborted ? (signal.reason as Error).message : text
          send(JSON.stringify(errorBody(status, told)))
        })
        .finally(release)
        .finally(() => {
          if (open) controller.close()
          open = false
        })
    },
    cancel() {
      open = false
      gone.abort(new Error("the connection was dropped"))
    },
  })
}

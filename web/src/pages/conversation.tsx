/**
 * One model's side of a chat: its answers, the probability of each token, and what was changed in
 * them.
 */
import type { ComponentChildren } from "preact"
import { useEffect, useState } from "preact/hooks"
import { Tokens } from "../parts/tokens.tsx"
import { focused, useOpener } from "../parts/use-opener.ts"
import { post } from "./api.ts"

export interface Sampling {
  readonly temperature: number
  readonly maxTokens: number
  readonly seed: number
}

interface Message {
  readonly role: "user" | "assistant"
  readonly content: string
}

/** An answer. */
interface Told {
  /** Tokens with their probability; what somebody wrote has none. */
  readonly parts: readonly { readonly text: string; readonly p?: number }[]
  readonly text: string
  /** Whether the model said all that it wanted to. */
  readonly isWhole: boolean
}

interface ChatAnswer {
  readonly choices: readonly {
    readonly message: { readonly content: string }
    readonly logprobs: { readonly content: readonly { token: string; logprob: number }[] } | null
    readonly finish_reason: string
  }[]
}

interface Question {
  readonly model: string
  readonly messages: readonly Message[]
  /** What the answer begins with: the model goes on from there. */
  readonly begun: Told | undefined
  readonly sampling: Sampling
  readonly signal: AbortSignal
}

async function answered({ model, messages, begun, sampling, signal }: Question): Promise<Told> {
  const { temperature, maxTokens, seed } = sampling
  const goesOn = begun && {
    messages: [...messages, { role: "assistant", content: begun.text }],
    ...{ add_generation_prompt: false, continue_final_message: true },
  }
  const answer = await post<ChatAnswer>(
    "/v1/chat/completions",
    { model, messages, temperature, max_tokens: maxTokens, seed, logprobs: true, ...goesOn },
    signal,
  )
  const [choice] = answer.choices
  const tokens = choice?.logprobs?.content ?? []
  const more = tokens.map(({ token, logprob }) => ({ text: token, p: Math.exp(logprob) }))
  return {
    text: (begun?.text ?? "") + (choice?.message.content ?? ""),
    parts: [...(begun?.parts ?? []), ...more],
    isWhole: choice?.finish_reason !== "length",
  }
}

/** Answers follow from the turns, the settings and what was answered before. */
export function Conversation({
  model,
  turns,
  sampling,
  onEdit,
}: {
  readonly model: string
  readonly turns: readonly string[]
  readonly sampling: Sampling
  readonly onEdit: (place: number, text: string) => void
}) {
  const [answers, setAnswers] = useState<readonly Answer[]>([])
  const [problem, setProblem] = useState("")
  const [tries, setTries] = useState(0)
  /** What the answer of each turn follows from; another one has to be asked for again. */
  const keys: string[] = []
  const current: (Answer | undefined)[] = []
  for (const i of turns.keys()) {
    const said = current.map((answer) => answer?.told.text)
    keys.push(JSON.stringify([turns.slice(0, i + 1), said, sampling]))
    current.push(answers[i]?.of === keys[i] ? answers[i] : undefined)
  }
  const next = current.findIndex((answer) => answer === undefined || answer.isBegun)
  const key = keys[next]
  const begun = current[next]?.told
  const put = (place: number, told: Told, isBegun: boolean) =>
    setAnswers((all) => [...all.slice(0, place), { of: keys[place]!, told, isBegun }])
  useEffect(() => {
    if (next === -1) return
    const gone = new AbortController()
    setProblem("")
    const messages = turns
      .slice(0, next + 1)
      .flatMap((content, i): Message[] => [
        { role: "user", content },
        ...(i < next ? [{ role: "assistant" as const, content: current[i]!.told.text }] : []),
      ])
    answered({ model, messages, begun, sampling, signal: gone.signal }).then(
      (told) => put(next, told, false),
      (error: Error) => {
        if (!gone.signal.aborted) setProblem(error.message)
      },
    )
    return () => gone.abort()
  }, [model, key, begun, tries])
  return (
    <section class="card" aria-label={`Conversation with ${model}`}>
      <h2>{model}</h2>
      {turns.map((text, i) => (
        <div key={i} class="turn">
          <Editable text={text} what="question" onEdit={(changed) => onEdit(i, changed)}>
            {text}
          </Editable>
          {current[i] && (
            <Editable
              text={current[i].told.text}
              what="answer"
              onEdit={(changed) => put(i, written(changed), false)}
              onContinue={(changed) =>
                put(
                  i,
                  changed === current[i]!.told.text ? current[i]!.told : written(changed),
                  true,
                )
              }
            >
              <Said {...current[i]} />
            </Editable>
          )}
          {i === next && !problem && <p class="note">writing …</p>}
        </div>
      ))}
      {problem && (
        <>
          <p class="problem" role="alert">
            {problem}
          </p>
          <button type="button" onClick={() => setTries(tries + 1)}>
            Try again
          </button>
        </>
      )}
    </section>
  )
}

interface Answer {
  readonly of: string
  readonly told: Told
  /** Whether the model is to go on in it. */
  readonly isBegun: boolean
}

const written = (text: string): Told => ({ text, parts: [{ text }], isWhole: true })

function Said({ told: { parts, isWhole }, isBegun }: Answer) {
  if (parts.length === 0) return <div class="tokens">(it ended at once)</div>
  const tokens = parts.map(({ text, p }) =>
    p === undefined
      ? { text, value: null, title: "written by hand" }
      : { text, value: p, title: `p = ${p.toPrecision(3)}` },
  )
  return (
    <>
      <Tokens tokens={tokens} />
      {!isWhole && !isBegun && <p class="note">Cut at the most tokens.</p>}
    </>
  )
}

/** A question, or a model's answer; changed, the conversation goes on from it. */
function Editable({
  text,
  what,
  onEdit,
  onContinue,
  children,
}: {
  readonly text: string
  readonly what: "question" | "answer"
  readonly onEdit: (text: string) => void
  /** Of an answer: the model is to go on in it. */
  readonly onContinue?: (text: string) => void
  readonly children: ComponentChildren
}) {
  const [open, setOpen] = useState(false)
  const opener = useOpener(open)
  if (!open) {
    return (
      <div class={what}>
        {children}{" "}
        <button ref={opener} type="button" class="plain pale" onClick={() => setOpen(true)}>
          edit<span class="unseen"> the {what}</span>
        </button>{" "}
        {onContinue && (
          <button type="button" class="plain pale" onClick={() => onContinue(text)}>
            continue<span class="unseen"> the {what}</span>
          </button>
        )}
      </div>
    )
  }
  return (
    <form
      class="ask"
      onSubmit={(event) => {
        event.preventDefault()
        const changed = String(new FormData(event.currentTarget).get("text"))
        const { value } = event.submitter as HTMLButtonElement
        setOpen(false)
        if (value === "continue") onContinue?.(changed)
        else if (changed.trim() !== "") onEdit(changed)
      }}
    >
      <textarea
        name="text"
        rows={3}
        aria-label={`Changed ${what}`}
        defaultValue={text}
        ref={focused}
        onKeyDown={(event) => event.key === "Escape" && setOpen(false)}
      />
      <div class="row">
        {onContinue && (
          <button type="submit" value="continue">
            Let the model continue it
          </button>
        )}
        <button type="submit" value="go">
          {onContinue ? "Take it as the answer" : "Go on from here"}
        </button>
      </div>
    </form>
  )
}

import type { ComponentChildren } from "preact"
import { useEffect, useState } from "preact/hooks"
import { isObject } from "../../../src/formats/json.ts"
import { Tokens } from "../parts/tokens.tsx"
import { json, post } from "./api.ts"
import { modelGroups, modelsOfRun } from "./chat-models.ts"
import { ModelPlaces } from "./model-places.tsx"
import { useStore } from "./store.ts"

interface Message {
  readonly role: "user" | "assistant"
  readonly content: string
}

interface Told {
  readonly tokens: readonly { readonly text: string; readonly p: number }[]
  readonly text: string
}

interface ChatAnswer {
  readonly choices: readonly {
    readonly message: { readonly content: string }
    readonly logprobs: { readonly content: readonly { token: string; logprob: number }[] } | null
  }[]
}

interface Sampling {
  readonly temperature: number
  readonly maxTokens: number
  readonly seed: number
}

async function answered(
  model: string,
  messages: readonly Message[],
  { temperature, maxTokens, seed }: Sampling,
  signal: AbortSignal,
): Promise<Told> {
  const asked = { model, messages, temperature, max_tokens: maxTokens, seed, logprobs: true }
  const answer = await post<ChatAnswer>("/v1/chat/completions", asked, signal)
  const [choice] = answer.choices
  const tokens = choice?.logprobs?.content ?? []
  return {
    text: choice?.message.content ?? "",
    tokens: tokens.map(({ token, logprob }) => ({ text: token, p: Math.exp(logprob) })),
  }
}

/** Of the run named, or of the newest one that has a model. */
export function Chat({ run: named }: { readonly run?: string }) {
  const { runs } = useStore()
  const [all, setAll] = useState<readonly string[]>([])
  const [models, setModels] = useState<readonly string[]>([])
  const [problem, setProblem] = useState("")
  const [turns, setTurns] = useState<readonly string[]>([])
  const [text, setText] = useState("")
  const [sampling, setSampling] = useState<Sampling>({ temperature: 0.7, maxTokens: 128, seed: 1 })
  useEffect(() => {
    json<{ data: { id: string }[] }>("/v1/models").then(
      ({ data }) => {
        const ids = data.map(({ id }) => id)
        setAll(ids)
        const newest = [...runs.values()]
          .filter(({ name }) => ids.includes(name))
          .sort((a, b) => ((a.started ?? "") < (b.started ?? "") ? 1 : -1))[0]
        const about = runs.get(named ?? "") ?? newest
        setModels(about ? modelsOfRun(about.name, ids, about.model) : ids.slice(0, 1))
      },
      (error: Error) => setProblem(error.message),
    )
  }, [named])
  const setting = (key: keyof Sampling, label: string, step: number, min: number) => (
    <label>
      {label}{" "}
      <input
        type="number"
        class="short"
        step={step}
        min={min}
        value={sampling[key]}
        onChange={(event) => {
          const value = event.currentTarget.valueAsNumber
          if (Number.isFinite(value)) setSampling({ ...sampling, [key]: value })
        }}
      />
    </label>
  )
  return (
    <>
      <h1>Chat</h1>
      {problem && <p class="problem">{problem}</p>}
      {!problem && all.length === 0 && (
        <p>
          No run has a model yet. A run's result, its checkpoints, its base and every --model can be
          talked to.
        </p>
      )}
      {all.length > 0 && (
        <ModelPlaces
          groups={modelGroups(all, new Set(runs.keys()))}
          chosen={models}
          onChange={setModels}
        />
      )}
      <div class="row controls">
        {setting("temperature", "temperature", 0.1, 0)}
        {setting("maxTokens", "most tokens", 1, 1)}
        {setting("seed", "seed", 1, 0)}
        <button
          type="button"
          disabled={turns.length === 0}
          onClick={() => setSampling({ ...sampling, seed: sampling.seed + 1 })}
        >
          Regenerate with another seed
        </button>
        <button type="button" disabled={turns.length === 0} onClick={() => setTurns([])}>
          Begin anew
        </button>
      </div>
      <div class="split">
        {models.map((model) => (
          <Conversation
            key={model}
            model={model}
            turns={turns}
            sampling={sampling}
            onEdit={(place, changed) =>
              setTurns(turns.map((one, i) => (i === place ? changed : one)).slice(0, place + 1))
            }
          />
        ))}
      </div>
      <form
        class="ask"
        onSubmit={(event) => {
          event.preventDefault()
          if (text.trim() === "" || models.length === 0) return
          setTurns([...turns, text])
          setText("")
        }}
      >
        <textarea
          rows={2}
          aria-label="Message to all models"
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || event.shiftKey) return
            event.preventDefault()
            event.currentTarget.form?.requestSubmit()
          }}
        />
        <button type="submit" class="primary" disabled={models.length === 0}>
          Send
        </button>
      </form>
    </>
  )
}

/** One model's side. Answers follow from the turns, the settings and what was answered before. */
function Conversation({
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
  const [answers, setAnswers] = useState<readonly { of: string; told: Told }[]>([])
  const [problem, setProblem] = useState("")
  /** What the answer of a turn follows from; another one has to be asked for again. */
  const keyOf = (place: number) => JSON.stringify([turns.slice(0, place + 1), sampling])
  const known = turns.map((_, i) => (answers[i]?.of === keyOf(i) ? answers[i] : undefined))
  const next = known.indexOf(undefined)
  const key = next === -1 ? "" : keyOf(next)
  useEffect(() => {
    if (next === -1) return
    const gone = new AbortController()
    setProblem("")
    const messages = turns
      .slice(0, next + 1)
      .flatMap((content, i): Message[] => [
        { role: "user", content },
        ...(i < next ? [{ role: "assistant" as const, content: known[i]!.told.text }] : []),
      ])
    answered(model, messages, sampling, gone.signal).then(
      (told) => setAnswers([...answers.slice(0, next), { of: key, told }]),
      (error: unknown) => {
        if (!gone.signal.aborted)
          setProblem(
            isObject(error) || error instanceof Error ? String((error as Error).message) : "",
          )
      },
    )
    return () => gone.abort()
  }, [model, key])
  return (
    <section class="card" aria-label={`Conversation with ${model}`}>
      <h2>{model}</h2>
      {turns.map((text, i) => (
        <div key={i} class="turn">
          <Editable text={text} what="question" onEdit={(changed) => onEdit(i, changed)}>
            {text}
          </Editable>
          {known[i] ? (
            <Editable
              text={known[i].told.text}
              what="answer"
              onEdit={(changed) =>
                setAnswers([
                  ...answers.slice(0, i),
                  { of: keyOf(i), told: { text: changed, tokens: [] } },
                ])
              }
            >
              <Answer told={known[i].told} />
            </Editable>
          ) : (
            i === next && <p class="note">{problem ? "" : "writing …"}</p>
          )}
        </div>
      ))}
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
    </section>
  )
}

function Answer({ told: { text, tokens } }: { readonly told: Told }) {
  if (tokens.length === 0) {
    return <div class="tokens">{text === "" ? "(it ended at once)" : text}</div>
  }
  return (
    <Tokens
      tokens={tokens.map(({ text, p }) => ({ text, value: p, title: `p = ${p.toPrecision(3)}` }))}
    />
  )
}

/** A question, or a model's answer; changed, the conversation goes on from it. */
function Editable({
  text,
  what,
  onEdit,
  children,
}: {
  readonly text: string
  readonly what: "question" | "answer"
  readonly onEdit: (text: string) => void
  readonly children: ComponentChildren
}) {
  const [open, setOpen] = useState(false)
  if (!open) {
    return (
      <div class={what}>
        {children}{" "}
        <button type="button" class="plain pale" onClick={() => setOpen(true)}>
          edit<span class="unseen"> the {what}</span>
        </button>
      </div>
    )
  }
  return (
    <form
      class="ask"
      onSubmit={(event) => {
        event.preventDefault()
        const changed = String(new FormData(event.target as HTMLFormElement).get("text"))
        setOpen(false)
        if (changed.trim() !== "") onEdit(changed)
      }}
    >
      <textarea name="text" rows={3} aria-label={`Changed ${what}`} defaultValue={text} />
      <button type="submit">Go on from here</button>
    </form>
  )
}

import { useEffect, useState } from "preact/hooks"
import { json } from "./api.ts"
import { modelGroups, modelsOfRun } from "./chat-models.ts"
import { Conversation, type Sampling } from "./conversation.tsx"
import { ModelPlaces } from "./model-places.tsx"
import { linkTo } from "./routes.ts"
import { useStore } from "./store.ts"

/** Of the run named, or of the newest one that has a model. */
export function Chat({ run: named }: { readonly run?: string }) {
  const { runs } = useStore()
  const [all, setAll] = useState<readonly string[]>()
  const [models, setModels] = useState<readonly string[]>([])
  const [problem, setProblem] = useState("")
  const [turns, setTurns] = useState<readonly string[]>([])
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
  if (all === undefined || all.length === 0)
    return <NoModels isAsked={all !== undefined} problem={problem} />
  return (
    <>
      <h1>Chat</h1>
      <ModelPlaces
        groups={modelGroups(all, new Set(runs.keys()))}
        chosen={models}
        onChange={setModels}
      />
      <div class="row controls">
        <SamplingSettings sampling={sampling} onChange={setSampling} />
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
      <MessageToAll disabled={models.length === 0} onSend={(text) => setTurns([...turns, text])} />
    </>
  )
}

function NoModels({ isAsked, problem }: { readonly isAsked: boolean; readonly problem: string }) {
  return (
    <>
      <h1>Chat</h1>
      {problem ? (
        <p class="problem" role="alert">
          {problem}
        </p>
      ) : isAsked ? (
        <p>
          No run has a model yet. A run's result, its checkpoints, its base and every --model can be
          talked to. <a href={linkTo("new")}>Start a run</a>
        </p>
      ) : (
        <p class="note">Asking which models there are …</p>
      )}
    </>
  )
}

const SETTINGS = [
  ["temperature", "temperature", 0.1, 0],
  ["maxTokens", "most tokens", 1, 1],
  ["seed", "seed", 1, 0],
] as const

function SamplingSettings({
  sampling,
  onChange,
}: {
  readonly sampling: Sampling
  readonly onChange: (sampling: Sampling) => void
}) {
  return (
    <>
      {SETTINGS.map(([key, label, step, min]) => (
        <label key={key}>
          {label}{" "}
          <input
            type="number"
            class="short"
            step={step}
            min={min}
            value={sampling[key]}
            onChange={(event) => {
              const value = event.currentTarget.valueAsNumber
              if (Number.isFinite(value)) onChange({ ...sampling, [key]: value })
            }}
          />
        </label>
      ))}
    </>
  )
}

function MessageToAll({
  disabled,
  onSend,
}: {
  readonly disabled: boolean
  readonly onSend: (text: string) => void
}) {
  const [text, setText] = useState("")
  return (
    <form
      class="ask"
      onSubmit={(event) => {
        event.preventDefault()
        if (text.trim() === "" || disabled) return
        onSend(text)
        setText("")
      }}
    >
      <textarea
        rows={2}
        aria-label="Message to all models"
        placeholder="Ask all of them. Enter sends, Shift+Enter begins a line."
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || event.shiftKey) return
          event.preventDefault()
          event.currentTarget.form?.requestSubmit()
        }}
      />
      <button type="submit" class="primary" disabled={disabled}>
        Send
      </button>
    </form>
  )
}

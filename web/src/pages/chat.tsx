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
  if (all === undefined || all.length === 0) {
    return (
      <>
        <h1>Chat</h1>
        {problem ? (
          <p class="problem" role="alert">
            {problem}
          </p>
        ) : all === undefined ? (
          <p class="note">Asking which models there are …</p>
        ) : (
          <p>
            No run has a model yet. A run's result, its checkpoints, its base and every --model can
            be talked to. <a href={linkTo("new")}>Start a run</a>
          </p>
        )}
      </>
    )
  }
  return (
    <>
      <h1>Chat</h1>
      <ModelPlaces
        groups={modelGroups(all, new Set(runs.keys()))}
        chosen={models}
        onChange={setModels}
      />
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
          placeholder="Ask all of them. Enter sends, Shift+Enter begins a line."
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

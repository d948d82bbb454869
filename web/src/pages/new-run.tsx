import type { ComponentChildren } from "preact"
import { useEffect, useState } from "preact/hooks"
import type { Choices } from "../../../src/server/new-run-routes.ts"
import { json, post } from "./api.ts"
import { ObjectiveFields } from "./objective-fields.tsx"
import { Probe, type Probed } from "./probe.tsx"
import { Queue } from "./queue.tsx"
import { linkTo } from "./routes.ts"
import { configOf, EMPTY_FORM, type Form } from "./run-form.ts"
import { useStore } from "./store.ts"

/** Model, data and objective; what the probe says of them; into the queue. */
export function NewRun() {
  const { readOnly } = useStore()
  const [choices, setChoices] = useState<Choices>()
  const [form, setForm] = useState<Form>(EMPTY_FORM)
  const [probed, setProbed] = useState<{ readonly of: string; readonly told: Probed }>()
  const [busy, setBusy] = useState("")
  const [problem, setProblem] = useState("")
  const [started, setStarted] = useState("")
  const load = () =>
    json<Choices>("/api/choices").then(setChoices, (error: Error) => setProblem(error.message))
  useEffect(() => void load(), [])
  const change = (part: Partial<Form>) => {
    setForm((before) => ({ ...before, ...part }))
    setProblem("") // it was of what is changed now
  }
  const { config, problem: wrong } = configOf(form)

  const during = async (what: string, work: () => Promise<void>) => {
    setBusy(what)
    setProblem("")
    setStarted("")
    try {
      await work()
    } catch (error) {
      setProblem((error as Error).message)
    }
    setBusy("")
  }
  const example = () =>
    during("Making the example's rows …", async () => {
      const { train, eval: held } = await post<{ train: string; eval: string }>(
        "/api/example-data",
        {},
      )
      change({ train, eval: held })
      await load()
    })
  const probe = () =>
    during("Asking the model about the rows, and timing a step …", async () =>
      setProbed({
        of: JSON.stringify(config),
        told: await post<Probed>("/api/probe", { config }),
      }),
    )
  const start = () =>
    during("Starting …", async () => {
      await post("/api/jobs", { name: form.name, config })
      setStarted(form.name)
    })

  if (readOnly) return <p>This server was started with --read-only: it starts no runs.</p>
  return (
    <>
      <h1>New run</h1>
      <form
        class="new-run"
        onSubmit={(event) => {
          event.preventDefault()
          void start()
        }}
      >
        <ModelFields form={form} choices={choices} onChange={change}>
          <button type="button" disabled={busy !== ""} onClick={example}>
            Take the example's rows
          </button>
        </ModelFields>
        <ObjectiveFields form={form} onChange={change} />
        <TrainingFields form={form} wrong={wrong} onChange={change} />
        <div class="row">
          <button type="button" disabled={busy !== "" || wrong !== undefined} onClick={probe}>
            Probe first
          </button>
          <button type="submit" class="primary" disabled={busy !== "" || wrong !== undefined}>
            Start
          </button>
          <span class="note" role="status">
            {busy}
            {started && <Started name={started} />}
          </span>
        </div>
        {problem && (
          <p class="problem pre" role="alert">
            {problem}
          </p>
        )}
      </form>
      {probed && <Probe probed={probed.told} isOld={probed.of !== JSON.stringify(config)} />}
      <Queue />
    </>
  )
}

interface FieldsProps {
  readonly form: Form
  readonly onChange: (part: Partial<Form>) => void
}

function ModelFields({
  form,
  choices,
  onChange: change,
  children,
}: FieldsProps & {
  readonly choices: Choices | undefined
  readonly children: ComponentChildren
}) {
  return (
    <section class="card" aria-label="Model and data">
      <h2>Model and data</h2>
      <Text
        label="name of the run"
        value={form.name}
        onChange={(name) => change({ name })}
        required
      />
      <Text
        label="model"
        value={form.model}
        onChange={(model) => change({ model })}
        list="models"
        required
      />
      <datalist id="models">
        {choices?.models.map(({ name, path }) => (
          <option key={path} value={path}>
            {name}
          </option>
        ))}
      </datalist>
      <p class="note">A folder, a GGUF file, or a hub id that is on this machine.</p>
      <Text
        label="training rows"
        value={form.train}
        onChange={(train) => change({ train })}
        list="rows"
        required
      />
      <Text
        label="evaluation rows"
        value={form.eval}
        onChange={(held) => change({ eval: held })}
        list="rows"
      />
      <datalist id="rows">
        {choices?.data.map((path) => (
          <option key={path} value={path} />
        ))}
      </datalist>
      {children}{" "}
      <button
        type="button"
        disabled={!choices}
        onClick={() => change({ model: choices!.models[0]!.path })}
      >
        Take the bundled model
      </button>
    </section>
  )
}

function TrainingFields({
  form,
  wrong,
  onChange: change,
}: FieldsProps & { readonly wrong: string | undefined }) {
  return (
    <section class="card" aria-label="Training">
      <h2>Training</h2>
      <Text
        label="learning rate"
        value={form.learningRate}
        onChange={(learningRate) => change({ learningRate })}
      />
      <Text
        label="rows a step"
        value={form.batchSize}
        onChange={(batchSize) => change({ batchSize })}
      />
      <Text
        label="steps (empty: one epoch)"
        value={form.steps}
        onChange={(steps) => change({ steps })}
      />
      <Text
        label="LoRA rank (empty: the whole model)"
        value={form.rank}
        onChange={(rank) => change({ rank })}
      />
      <label class="field">
        other settings, as JSON
        <textarea
          class="mono"
          rows={4}
          spellcheck={false}
          value={form.more}
          onInput={(event) => change({ more: event.currentTarget.value })}
        />
      </label>
      <p class={wrong ? "problem" : "note"} aria-live="polite">
        {wrong ?? "Left out, a setting is what dftune train takes."}
      </p>
    </section>
  )
}

/** Where it is to be seen as soon as it tells something. */
function Started({ name }: { readonly name: string }) {
  const { runs } = useStore()
  if (!runs.has(name)) return <>{name} is in the queue.</>
  return (
    <>
      {name} has begun. <a href={linkTo("run", name)}>Its page</a>
    </>
  )
}

export function Text({
  label,
  value,
  onChange,
  list,
  required = false,
}: {
  readonly label: string
  readonly value: string
  readonly onChange: (value: string) => void
  readonly list?: string
  readonly required?: boolean
}) {
  return (
    <label class="field">
      {label}
      <input
        type="text"
        value={value}
        list={list}
        required={required}
        spellcheck={false}
        autocomplete="off"
        onInput={(event) => onChange(event.currentTarget.value)}
      />
    </label>
  )
}

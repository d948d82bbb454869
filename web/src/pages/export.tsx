import { useEffect, useState } from "preact/hooks"
import { keptText } from "../../../src/export/kept-text.ts"
import { DTYPES, type ExportFormat, GGUF_TYPE_NAMES } from "../../../src/export/names.ts"
import { shortBytes, shortCount } from "../../../src/report/units.ts"
import type { ToldExports } from "../../../src/server/export-routes.ts"
import type { RunSettings } from "../../../src/server/one-run-routes.ts"
import { ago, jobClass } from "../parts/words.ts"
import { json, post, Refused, runPath } from "./api.ts"
import { useSettings } from "./settings.tsx"
import { useStore } from "./store.ts"

interface Format {
  readonly to: ExportFormat
  readonly words: string
  /** Which runs have it. */
  readonly of: "adapter" | "whole model" | "either"
  /** What is chosen beside it. */
  readonly precision?: "type" | "dtype"
  /** What opens it, given the folder. */
  readonly next: (folder: string) => string
}

const FORMATS: readonly Format[] = [
  {
    ...{ to: "hf", of: "whole model", precision: "dtype" },
    words: "A whole model in Hugging Face's layout: Transformers, vLLM, SGLang",
    next: (folder) => `vllm serve ${folder}`,
  },
  {
    ...{ to: "merged", of: "adapter", precision: "dtype" },
    words: "The adapter folded into its base, in Hugging Face's layout",
    next: (folder) => `vllm serve ${folder}`,
  },
  {
    ...{ to: "peft", of: "adapter" },
    words: "The adapter alone, for PEFT and servers that load adapters",
    next: (folder) => `vllm serve BASE --enable-lora --lora-modules mine=${folder}`,
  },
  {
    ...{ to: "gguf", of: "either", precision: "type" },
    words: "One file for llama.cpp, LM Studio and what is built on them",
    next: (folder) => `llama-cli -m ${folder}/*.gguf`,
  },
  {
    ...{ to: "gguf-adapter", of: "adapter" },
    words: "The adapter alone, for llama.cpp's --lora",
    next: (folder) => `llama-cli -m BASE.gguf --lora ${folder}/*.gguf`,
  },
  {
    ...{ to: "ollama", of: "either", precision: "type" },
    words: "The same file with a Modelfile, for Ollama",
    next: (folder) => `ollama create NAME -f ${folder}/Modelfile`,
  },
  {
    ...{ to: "int8", of: "either" },
    words: "Linear layers in 8 bits, for vLLM and Transformers",
    next: (folder) => `vllm serve ${folder}`,
  },
  {
    ...{ to: "int4", of: "either" },
    words: "Linear layers in 4 bits, for vLLM and Transformers",
    next: (folder) => `vllm serve ${folder}`,
  },
]

const PRECISIONS = { type: Object.keys(GGUF_TYPE_NAMES), dtype: Object.keys(DTYPES) } as const

const LOOK_EVERY_MS = 1500

/** A run's exports, looked at again for as long as one is being written. */
function useExports(name: string) {
  const [told, setTold] = useState<ToldExports>()
  const [problem, setProblem] = useState("")
  const look = () =>
    json<ToldExports>(runPath(name, "/exports")).then(
      (found) => {
        setTold(found)
        setProblem("") // a server that was away for a while is back
      },
      (error: Error) => setProblem(error.message),
    )
  const isWriting = told?.jobs.some(({ state }) => state === "waiting" || state === "running")
  useEffect(() => void look(), [name])
  useEffect(() => {
    if (!isWriting) return
    const timer = setInterval(look, LOOK_EVERY_MS)
    return () => clearInterval(timer)
  }, [name, isWriting])
  return { told, problem, look }
}

/** The run's model for other tools, read back and compared before it is put in place. */
export function Export({ name }: { readonly name: string }) {
  const { settings, problem: unread } = useSettings([name])
  const { told, problem, look } = useExports(name)
  const { readOnly } = useStore()
  const [own] = settings
  if (problem || unread) return <p class="problem">{problem || unread}</p>
  if (!own || !told) return <p class="note">Reading …</p>
  if (!own.has_model && own.checkpoints.length === 0) {
    return <p>This run has neither a result nor a checkpoint yet: there is no model to export.</p>
  }
  return (
    <>
      {readOnly ? (
        <p class="note">This server was started with --read-only: it writes nothing.</p>
      ) : (
        <ExportForm name={name} settings={own} onAsked={look} />
      )}
      <Written told={told} onStop={readOnly ? undefined : look} />
    </>
  )
}

const isAdapter = ({ adapter }: Readonly<Record<string, unknown>>) =>
  adapter !== undefined && adapter !== null && adapter !== "none"

function ExportForm({
  name,
  settings: { config, checkpoints, has_model },
  onAsked,
}: {
  readonly name: string
  readonly settings: RunSettings
  readonly onAsked: () => void
}) {
  const formats = FORMATS.filter(
    ({ of }) => of === "either" || of === (isAdapter(config) ? "adapter" : "whole model"),
  )
  /** "": the result, or the newest checkpoint where there is none. */
  const [checkpoint, setCheckpoint] = useState("")
  const [to, setTo] = useState<ExportFormat>(formats[0]!.to)
  const [precision, setPrecision] = useState("")
  const [problem, setProblem] = useState("")
  const [isThere, setIsThere] = useState(false)
  const chosen = formats.find((format) => format.to === to) ?? formats[0]!
  const ask = async (force: boolean) => {
    setProblem("")
    setIsThere(false)
    const kind = chosen.precision
    const asked = {
      to: chosen.to,
      ...(kind && precision !== "" ? { [kind]: precision } : {}),
      ...(checkpoint === "" ? {} : { checkpoint: Number(checkpoint) }),
      ...(force ? { force } : {}),
    }
    try {
      await post(runPath(name, "/export"), asked)
      onAsked()
    } catch (error) {
      setProblem((error as Error).message)
      setIsThere(error instanceof Refused && error.code === "export_exists")
    }
  }
  return (
    <form
      class="card"
      aria-label="Export"
      onSubmit={(event) => {
        event.preventDefault()
        void ask(false)
      }}
    >
      <fieldset class="kinds formats">
        <legend>What is to open it?</legend>
        {formats.map((format) => (
          <label key={format.to} class="row">
            <input
              type="radio"
              name="format"
              checked={format === chosen}
              onChange={() => {
                setTo(format.to)
                setPrecision("")
              }}
            />
            <b>{format.to}</b> <span class="note">{format.words}</span>
          </label>
        ))}
      </fieldset>
      <div class="row">
        <label>
          the model of{" "}
          <select value={checkpoint} onChange={(event) => setCheckpoint(event.currentTarget.value)}>
            <option value="">
              {has_model ? "the result" : `step ${checkpoints.at(-1)}, the newest`}
            </option>
            {(has_model ? checkpoints : checkpoints.slice(0, -1)).toReversed().map((step) => (
              <option key={step} value={step}>
                step {step}
              </option>
            ))}
          </select>
        </label>
        {chosen.precision && (
          <label>
            numbers in{" "}
            <select value={precision} onChange={(event) => setPrecision(event.currentTarget.value)}>
              <option value="">the model's own precision</option>
              {PRECISIONS[chosen.precision].map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
          </label>
        )}
        <button type="submit" class="primary">
          Export
        </button>
        {isThere && (
          <button type="button" onClick={() => ask(true)}>
            Write it again
          </button>
        )}
      </div>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
    </form>
  )
}

interface WrittenProps {
  readonly told: ToldExports
  /** After one was told to end; undefined where nothing may be changed. */
  readonly onStop: (() => void) | undefined
}

function Written({ told: { jobs, folders }, onStop }: WrittenProps) {
  const shown = new Set(jobs.flatMap(({ result }) => (result ? [result.out] : [])))
  const others = folders.filter(({ path }) => !shown.has(path))
  if (jobs.length + others.length === 0) return null
  return (
    <section aria-label="Exports" class="apart">
      <h2>Exports</h2>
      {jobs.map((job) => (
        <Told key={job.id} job={job} onStop={onStop} />
      ))}
      {others.map(({ name, path, bytes }) => (
        <article key={path} class="card sample">
          <h3>{name}</h3>
          <p class="note">
            {shortBytes(bytes)} in <code>{path}</code>
          </p>
        </article>
      ))}
    </section>
  )
}

/** What was written, what reading it back has shown, and what opens it. */
function Told({
  job,
  onStop,
}: {
  readonly job: ToldExports["jobs"][number]
  readonly onStop: WrittenProps["onStop"]
}) {
  const { export: asked, added, message, result } = job
  const state = result ? "done" : job.state // its process may take a moment to end
  const [problem, setProblem] = useState("")
  const step = asked?.checkpoint === undefined ? undefined : `step ${asked.checkpoint}`
  const title = [asked?.to, asked?.type ?? asked?.dtype, step].filter(Boolean).join(", ")
  const verb = { waiting: "cancel", running: "stop" }[state as string]
  const end = () =>
    post(`/api/jobs/${job.id}/${verb}`, {}).then(onStop, (error: Error) =>
      setProblem(error.message),
    )
  const kept = result && keptText(result, asked?.rounding)
  const next = FORMATS.find(({ to }) => to === asked?.to)?.next
  return (
    <article class="card sample" aria-label={`Export ${title}`}>
      <div class="row">
        <h3>{title}</h3>
        <span class={jobClass(state)} role="status">
          {state === "running" ? "being written" : state === "done" ? "written" : state}
        </span>
        <span class="note">{ago(added)}</span>
        {verb && onStop && (
          <button type="button" onClick={end}>
            {state === "running" ? "Stop" : "Take it out"}
            <span class="unseen"> the export {title}</span>
          </button>
        )}
      </div>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
      {message && <p class="problem pre">{message}</p>}
      {result && (
        <>
          <p>
            {result.files.map(({ file, bytes }) => `${file} (${shortBytes(bytes)})`).join(", ")} in{" "}
            <code>{result.out}</code>
          </p>
          <p class="note">
            Read back: {result.verified.tensors} tensors, {shortCount(result.verified.values)}{" "}
            values in {result.stored};{" "}
            {result.verified.largest_error === 0
              ? "every value is the same."
              : `every value is within its bound, at most ${result.verified.largest_error.toPrecision(2)} of its tensor's largest.`}
          </p>
          {kept && <p class={kept.hint ? "problem" : "note"}>It {kept.text}.</p>}
          {kept?.hint && <p class="note">What helps: {kept.hint}.</p>}
          {result.notes.map((note) => (
            <p key={note} class="note">
              {note}
            </p>
          ))}
          {next && (
            <p>
              Open it: <code>{next(result.out)}</code>
            </p>
          )}
        </>
      )}
    </article>
  )
}

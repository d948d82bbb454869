import { useEffect, useState } from "preact/hooks"
import type { Lab } from "./lab.ts"
import { ModelPicker } from "./model-picker.tsx"
import { OwnRows } from "./own-rows.tsx"
import { type Settings, TASKS, type TaskName } from "./settings.ts"

const TASK_NAMES: Readonly<Record<TaskName, string>> = {
  noisy: "arithmetic, some solutions wrong",
  facts: "new facts to know by heart",
  own: "rows of my own",
}

/** A setting on a slider; taken when it is let go. */
function Slider({
  label,
  shown,
  value,
  min,
  max,
  step,
  disabled = false,
  onChange,
}: {
  readonly label: string
  readonly shown: (value: number) => string
  readonly value: number
  readonly min: number
  readonly max: number
  readonly step: number
  readonly disabled?: boolean
  readonly onChange: (value: number) => void
}) {
  const [now, setNow] = useState(value)
  useEffect(() => setNow(value), [value])
  return (
    <label class="slider">
      <span>
        {label} <b>{shown(now)}</b>
      </span>
      <input
        type="range"
        min={min}
        max={max}
        step={step}
        value={now}
        disabled={disabled}
        onInput={(event) => setNow(event.currentTarget.valueAsNumber)}
        onChange={(event) => onChange(event.currentTarget.valueAsNumber)}
      />
    </label>
  )
}

/** Data, sliders, and the buttons that make time pass. */
export function Controls({ lab }: { readonly lab: Lab }) {
  const { settings, state } = lab
  const { phase, rows } = state
  const [task, setTask] = useState(settings.task)
  useEffect(() => setTask(settings.task), [settings.task])
  const isIdle = phase === "ready" || phase === "paused"
  const change = (values: Partial<Settings>) => lab.change(values)
  return (
    <section class="card controls" aria-label="Training">
      <div class="row buttons">
        {phase === "training" ? (
          <button type="button" class="primary" onClick={() => lab.pause()}>
            Pause
          </button>
        ) : (
          <button type="button" class="primary" disabled={!isIdle} onClick={() => lab.play()}>
            {phase === "paused" ? "Go on" : "Train"}
          </button>
        )}
        <button type="button" disabled={!isIdle} onClick={() => lab.step()}>
          Step
        </button>
        <button type="button" disabled={phase === "loading"} onClick={() => lab.reset()}>
          Reset
        </button>
        <label class="row">
          Data
          <select
            value={task}
            onChange={(event) => {
              const chosen = event.currentTarget.value as TaskName
              setTask(chosen)
              if (chosen !== "own") change({ task: chosen })
            }}
          >
            {TASKS.map((name) => (
              <option key={name} value={name}>
                {TASK_NAMES[name]}
              </option>
            ))}
          </select>
        </label>
        <ModelPicker lab={lab} />
      </div>
      {task === "own" && <OwnRows lab={lab} />}
      <div class="sliders">
        <Slider
          label="wrong solutions"
          shown={(value) => `${Math.round(100 * value)} %`}
          value={settings.noise}
          min={0}
          max={0.9}
          step={0.05}
          disabled={settings.task !== "noisy"}
          onChange={(noise) => change({ noise })}
        />
        <Slider
          label="learning rate"
          shown={(value) => (10 ** value).toExponential(1)}
          value={Math.log10(settings.learningRate)}
          min={-5}
          max={-1.5}
          step={0.05}
          onChange={(value) => change({ learningRate: Number((10 ** value).toPrecision(3)) })}
        />
        <Slider
          label="LoRA rank"
          shown={(value) => (value === 0 ? "whole model" : String(value))}
          value={settings.rank}
          min={0}
          max={32}
          step={1}
          onChange={(rank) => change({ rank })}
        />
        <Slider
          label="steps"
          shown={String}
          value={settings.steps}
          min={10}
          max={300}
          step={10}
          onChange={(steps) => change({ steps })}
        />
        <Slider
          label="rows a step"
          shown={String}
          value={settings.batchSize}
          min={1}
          max={64}
          step={1}
          onChange={(batchSize) => change({ batchSize })}
        />
      </div>
      {rows && (
        <p class="note">
          {rows.rows} rows, {rows.supervisedTokens} supervised tokens of {rows.tokens}
          {rows.truncated > 0 && `; ${rows.truncated} rows cut at 192 tokens`}
          {rows.dropped.length > 0 && `; ${rows.dropped.length} rows left nothing to train on`}
          {rows.refused.length > 0 &&
            `; ${rows.refused.length} rows say they are not to be trained`}
        </p>
      )}
    </section>
  )
}

import { useEffect, useState } from "preact/hooks"
import type { SideName } from "./lab-state.ts"
import { PRESETS, problemOf } from "./settings.ts"

/** A loss as a formula: checked as one types, taken when it is right and one has stopped. */
export function ObjectiveBox({
  name,
  formula,
  warnings,
  onChange,
}: {
  readonly name: SideName
  readonly formula: string
  readonly warnings: readonly string[]
  readonly onChange: (formula: string) => void
}) {
  const [text, setText] = useState(formula)
  useEffect(() => setText(formula), [formula])
  const problem = problemOf(text)
  const preset = PRESETS.find(([, value]) => value === text)?.[0] ?? ""
  const label = name.toUpperCase()
  const take = () => {
    if (!problem && text !== formula) onChange(text)
  }
  return (
    <div class="card objective">
      <h2>
        <i class="swatch" style={{ background: `var(--${name})` }} />
        Loss {label}
      </h2>
      <form
        onSubmit={(event) => {
          event.preventDefault()
          take()
        }}
      >
        <input
          type="text"
          class="mono formula"
          aria-label={`Loss ${label}, a formula`}
          aria-invalid={problem !== undefined}
          aria-describedby={`problem-${name}`}
          spellcheck={false}
          autocomplete="off"
          value={text}
          maxLength={500}
          onInput={(event) => setText(event.currentTarget.value)}
          onBlur={take}
        />
        <button type="submit" disabled={problem !== undefined || text === formula}>
          Use
        </button>
      </form>
      <p id={`problem-${name}`} class={problem ? "problem" : "note"} aria-live="polite">
        {problem ?? "mean over the supervised tokens"}
      </p>
      <label class="row">
        <span class="note">or take</span>
        <select
          aria-label={`A known loss for ${label}`}
          value={preset}
          onChange={(event) => {
            const value = PRESETS.find(([known]) => known === event.currentTarget.value)?.[1]
            if (value !== undefined) onChange(value)
          }}
        >
          <option value="" disabled>
            your own
          </option>
          {PRESETS.map(([known]) => (
            <option key={known}>{known}</option>
          ))}
        </select>
      </label>
      {warnings.map((warning) => (
        <p key={warning} class="problem">
          {warning}
        </p>
      ))}
    </div>
  )
}

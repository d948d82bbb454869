import { FAMILY } from "../../../src/objectives/family.ts"
import { pushesAway, SHOWN_P, weightsAt } from "../../../src/objectives/weights.ts"
import { WeightLines } from "../parts/weight-lines.tsx"
import { type Form, objectiveOf } from "./run-form.ts"

/** Names with their formulas, as the family's table has them. */
const NAMES = Object.entries(FAMILY).map(([name, { formula }]) => ({ name, formula }))

function weightsOf(form: Pick<Form, "objective" | "formula">) {
  try {
    const scalars = { tokenClass: 0, progress: 0.5 }
    return { values: weightsAt(objectiveOf(form), SHOWN_P, scalars), problem: "" }
  } catch (error) {
    return { values: undefined, problem: (error as Error).message }
  }
}

/** The loss by name or as a formula, and the weight that it gives a token of probability p. */
export function ObjectiveFields({
  form,
  onChange,
}: {
  readonly form: Form
  readonly onChange: (part: Partial<Form>) => void
}) {
  const { values, problem } = weightsOf(form)
  const isFormula = form.objective === "formula"
  const formula = NAMES.find(({ name }) => name === form.objective)?.formula
  return (
    <section class="card weights" aria-label="Objective">
      <h2>Objective</h2>
      <label class="field">
        objective
        <select
          value={form.objective}
          onChange={(event) => onChange({ objective: event.currentTarget.value })}
        >
          <option value="formula">a formula of your own</option>
          {NAMES.map(({ name }) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      {isFormula ? (
        <label class="field">
          formula
          <input
            type="text"
            class="mono"
            value={form.formula}
            maxLength={500}
            spellcheck={false}
            autocomplete="off"
            aria-invalid={problem !== ""}
            onInput={(event) => onChange({ formula: event.currentTarget.value })}
          />
        </label>
      ) : (
        <p class="note">
          loss of a token: <code>{formula}</code>
        </p>
      )}
      {problem && (
        <p class="problem" aria-live="polite">
          {problem}
        </p>
      )}
      <WeightLines
        lines={[
          { name: "sft", color: "--b", values: SHOWN_P.map(() => 1), dashed: true },
          { name: "chosen", color: "--a", values },
        ]}
      />
      <p class="note">
        {values
          ? "Weight of a token by its probability; dashed: SFT."
          : "This objective's weights depend on more than p; no line can show them."}
        {isFormula &&
          " A formula is written in p, nll, logp, entropy, token_class, progress, sg(…), min, max, where(…)."}
      </p>
      {pushesAway(values) && (
        <p class="problem">
          It pushes some tokens away: its weight is negative where p is small. Is a sg(…) missing?
        </p>
      )}
    </section>
  )
}

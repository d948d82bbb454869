import { useState } from "preact/hooks"
import { Tokens } from "../parts/tokens.tsx"
import type { Lab } from "./lab.ts"

/** Asks both models the same. */
export function Questions({ lab }: { readonly lab: Lab }) {
  const { state, settings } = lab
  const { sides, phase } = state
  const [question, setQuestion] = useState(
    "Ida has 12 coins. Ida finds 7. Ida doubles them. How many coins are there now?",
  )
  const [temperature, setTemperature] = useState(1)
  const busy = phase === "training" || phase === "loading" || state.busy !== undefined
  return (
    <section class="card" aria-label="Samples">
      <h2>Ask both</h2>
      <form
        class="row ask"
        onSubmit={(event) => {
          event.preventDefault()
          lab.ask(question, temperature, temperature === 0 ? 1 : 3)
        }}
      >
        <input
          type="text"
          aria-label="A question"
          value={question}
          onInput={(event) => setQuestion(event.currentTarget.value)}
        />
        <label class="row">
          temperature
          <select
            value={temperature}
            onChange={(event) => setTemperature(Number(event.currentTarget.value))}
          >
            <option value={0}>0 (greedy)</option>
            <option value={0.5}>0.5</option>
            <option value={1}>1 (as it is)</option>
          </select>
        </label>
        <button type="submit" disabled={busy || question.trim() === ""}>
          Ask
        </button>
      </form>
      <div class="sides">
        {(["a", "b"] as const).map((name) => (
          <div key={name}>
            <h3>
              <i class="swatch" style={{ background: `var(--${name})` }} />
              {name.toUpperCase()}: <code>{settings[name]}</code>
            </h3>
            {sides[name].said.length === 0 && <p class="note">Nothing asked yet.</p>}
            {sides[name].said.map(({ tokens, probabilities, completion }, i) => (
              <div key={i} class="said" data-completion={completion}>
                <Tokens tokens={tokens.map((text, t) => ({ text, value: probabilities[t]! }))} />
              </div>
            ))}
          </div>
        ))}
      </div>
    </section>
  )
}

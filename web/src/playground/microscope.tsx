import { useState } from "preact/hooks"
import { PickedTokens } from "../parts/tokens.tsx"
import type { Lab } from "./lab.ts"
import type { Side } from "./lab-state.ts"

const percent = (value: number) =>
  value < 0.001 ? value.toExponential(1) : `${(100 * value).toFixed(1)} %`

/** A training row, token by token, as both models see it now. */
export function Microscope({ lab }: { readonly lab: Lab }) {
  const [picked, setPicked] = useState<number>()
  const { state, settings, row } = lab
  const { rows, sides, phase } = state
  const shown = (side: Side) =>
    side.look.map(({ text, p, supervised }) => ({ text, value: supervised ? p : null }))
  const busy = phase === "training" || phase === "loading"
  return (
    <section class="card" aria-label="Token microscope">
      <div class="row head">
        <h2>Token microscope</h2>
        <label class="row">
          training row
          <input
            type="number"
            min={1}
            max={rows?.rows ?? 1}
            value={row + 1}
            disabled={busy}
            onChange={(event) => {
              const value = event.currentTarget.valueAsNumber
              if (value >= 1 && value <= (rows?.rows ?? 1)) lab.look(value - 1)
            }}
          />
        </label>
        <span class="scale" aria-hidden="true">
          p = 0 <i /> p = 1
        </span>
      </div>
      <div class="sides">
        {(["a", "b"] as const).map((name) => {
          const token = picked === undefined ? undefined : sides[name].look[picked]
          return (
            <div key={name}>
              <h3>
                <i class="swatch" style={{ background: `var(--${name})` }} />
                {name.toUpperCase()}: <code>{settings[name]}</code>
              </h3>
              <PickedTokens
                label={`Tokens of ${name.toUpperCase()}`}
                tokens={shown(sides[name])}
                picked={picked}
                onPick={setPicked}
              />
              <p class="note picked-line" aria-live="polite">
                {token?.p == null
                  ? "Point at a token, or go there with the arrow keys."
                  : `“${token.text}”: p = ${percent(token.p)}` +
                    (token.weight === null ? "" : `, weight ${token.weight.toPrecision(2)}`) +
                    (token.supervised ? "" : ", not trained")}
              </p>
            </div>
          )
        })}
      </div>
    </section>
  )
}

/** What an export says of the adapter it folded in. Runs in a browser too. */
import { shortCount } from "../report/units.ts"
import type { ExportResult } from "./export.ts"
import type { ExportFormat, Rounding } from "./names.ts"

/** Below this share of the adapter's effect an export has lost what was learned. */
const ENOUGH = 0.95

const FINER: { readonly [Format in ExportFormat]: string } = {
  hf: "",
  peft: "",
  "gguf-adapter": "",
  merged: "--dtype f32 keeps it",
  gguf: "a finer --type keeps more",
  ollama: "a finer --type keeps more",
  int8: "--to merged keeps more",
  int4: "--to int8 keeps more",
}

type Told = Pick<ExportResult, "to" | "stored" | "effect">

/** What keeps more of an adapter than what was written. */
function remedies({ to, stored }: Told, rounding: Rounding): string {
  const half = /^(b?f16|b?float16)$/.test(stored)
  const apart = to === "gguf" || to === "ollama" ? "gguf-adapter" : "peft"
  return [
    ...(half && rounding === "nearest"
      ? ["--rounding stochastic often keeps more in the same size"]
      : []),
    FINER[to],
    `--to ${apart}, beside its base, keeps all`,
    "longer training makes a larger change",
  ].join("; ")
}

/** undefined where no adapter was folded in; with a hint where too little of its effect is left. */
export function keptText(
  result: Told,
  rounding: Rounding = "nearest",
): { readonly text: string; readonly hint?: string } | undefined {
  const { effect, stored } = result
  if (effect === undefined) return undefined
  if ("unmeasured" in effect) {
    return { text: `what is left of the adapter's effect was not measured: ${effect.unmeasured}` }
  }
  const { kept, nll, tokens, rows } = effect
  const share = `${(100 * Math.max(0, kept)).toFixed(kept > 0.99 ? 1 : 0)} %`
  const [base, adapter, written] = [nll.base, nll.adapter, nll.written].map((x) => x.toFixed(3))
  const text =
    `keeps ${share} of the adapter's effect, on ${shortCount(tokens)} tokens of the run's first ` +
    `${rows} rows; their nll: base ${base}, with the adapter ${adapter}, as written ${written}`
  if (kept >= ENOUGH) return { text }
  return {
    text: `${text}: ${stored} is too coarse for so small a change`,
    hint: remedies(result, rounding),
  }
}

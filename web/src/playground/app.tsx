import { useEffect, useState } from "preact/hooks"
import { gigabytes } from "../../../src/browser/tab-memory.ts"
import { Controls } from "./controls.tsx"
import { Curves } from "./curves.tsx"
import { Lab } from "./lab.ts"
import type { LabState } from "./lab-state.ts"
import { Microscope } from "./microscope.tsx"
import { ObjectiveBox } from "./objective-box.tsx"
import { Questions } from "./questions.tsx"
import { linkOf, settingsOf } from "./settings.ts"
import { Share } from "./share.tsx"
import { Tour } from "./tour.tsx"
import { WeightPlot } from "./weight-plot.tsx"

const begun = settingsOf(location.hash)
const lab = new Lab(begun.settings)

/** Draws again whenever something happens in the lab. */
function useLab() {
  const [, draw] = useState({})
  useEffect(() => lab.subscribe(() => draw({})), [])
  return lab
}

function memoryWords({ reckoned, held }: LabState): string {
  if (reckoned === undefined) return ""
  const measured = held === undefined ? "" : `, the tab holds ${gigabytes(held)} (measured)`
  return `; memory: ${gigabytes(reckoned)} reckoned for both runs${measured}`
}

export function App() {
  const { state, settings } = useLab()
  const [tour, setTour] = useState(!location.hash)
  const [linkProblem, setLinkProblem] = useState(begun.problem)
  useEffect(() => void lab.open(), [])
  useEffect(() => {
    // Another link in the same tab: nothing is loaded anew, so its settings are taken here.
    const take = () => {
      const { settings, problem } = settingsOf(location.hash)
      setLinkProblem(problem)
      if (!problem) void lab.change(settings)
    }
    window.addEventListener("hashchange", take)
    return () => window.removeEventListener("hashchange", take)
  }, [])
  useEffect(() => history.replaceState(null, "", linkOf(settings)), [settings])
  const { phase, busy, problem, note, model, device, sides, step } = state

  return (
    <>
      <header class="top">
        <div>
          <h1>dftune playground</h1>
          <p class="note">
            Two losses train the same small language model side by side, in this tab. Nothing is
            sent anywhere.
          </p>
        </div>
        <div class="row">
          <button type="button" onClick={() => setTour(true)}>
            Guided tour
          </button>
          <Share lab={lab} />
        </div>
      </header>
      <main>
        {tour && <Tour lab={lab} onClose={() => setTour(false)} />}
        {linkProblem && (
          <p class="problem" role="alert">
            {linkProblem}{" "}
            <button type="button" onClick={() => setLinkProblem(undefined)}>
              Close
            </button>
          </p>
        )}
        <section class="objectives" aria-label="The two losses">
          {(["a", "b"] as const).map((name) => (
            <ObjectiveBox
              key={name}
              name={name}
              formula={settings[name]}
              warnings={sides[name].warnings}
              onChange={(formula) => lab.change({ [name]: formula })}
            />
          ))}
          <WeightPlot a={settings.a} b={settings.b} />
        </section>
        <Controls lab={lab} />
        <div class="status" role="status" data-phase={phase} data-step={step}>
          {busy ? (
            <>
              {busy.what}
              {busy.share !== undefined && (
                <progress aria-label={busy.what} value={busy.share} max={1} />
              )}{" "}
              {phase === "loading" && !model && (
                <button type="button" onClick={() => lab.stopLoading()}>
                  Stop
                </button>
              )}
            </>
          ) : (
            `${device}; ${model?.name === "base" ? "the bundled model" : model?.name}, ` +
            `${((model?.parameters ?? 0) / 1e6).toFixed(1)} M parameters; step ${step} of ${settings.steps}` +
            memoryWords(state)
          )}
        </div>
        {note && <p class="note">{note}</p>}
        {problem && (
          <p class="problem" role="alert">
            {problem}
          </p>
        )}
        <Curves sides={sides} settings={settings} />
        <Microscope lab={lab} />
        <Questions lab={lab} />
      </main>
      <footer class="note">
        dftune, Apache-2.0. A loss is written in p (the model's probability of the right token), nll
        = −ln p, sg(…) (no gradient passes), entropy, progress and numbers.
      </footer>
    </>
  )
}

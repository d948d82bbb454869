import type { ComponentChildren } from "preact"
import { useState } from "preact/hooks"
import type { Lab } from "./lab.ts"
import { DEFAULTS, type Settings } from "./settings.ts"

interface Stop {
  readonly title: string
  readonly text: ComponentChildren
  readonly action: string
  readonly settings: Partial<Settings>
  /** What is done once the settings are taken. */
  readonly go?: (lab: Lab) => Promise<void>
}

const STOPS: readonly Stop[] = [
  {
    title: "Why p times NLL",
    text: (
      <>
        SFT's loss for a token is <code>nll</code> = −ln p. Its gradient pulls hardest on the tokens
        that the model finds least likely: seen as reinforcement learning, it carries a hidden
        factor 1 / p. DFT multiplies it away: <code>sg(p) * nll</code>. The plot shows the weight
        that is left: 1 for every token, or p. The loss goes through sg(…), or the gradient would
        turn round where p is below 1 / e.
      </>
    ),
    action: "Set it up and make three steps",
    settings: { a: "nll", b: "sg(p) * nll", task: "noisy", noise: 0.3 },
    go: async (lab) => {
      for (let step = 0; step < 3; step++) await lab.step()
    },
  },
  {
    title: "What is abandoned",
    text: (
      <>
        In 30 % of these solutions one step is wrong. SFT learns the errors too: its weight for an
        unlikely token is 1. DFT hardly sees them: in the histogram its targets stay at both ends,
        and fewer tokens count. Look at a row in the microscope when the steps are made: red tokens
        have been given up. That is right for a wrong digit, and wrong for a new habit of speech.
      </>
    ),
    action: "Train 20 steps",
    settings: { a: "nll", b: "sg(p) * nll", task: "noisy", noise: 0.3, steps: 20 },
    go: (lab) => lab.play(),
  },
  {
    title: "Why greedy tells another story",
    text: (
      <>
        DFT makes likely tokens likelier: the distribution grows sharp. Sampled as it is
        (temperature 1), that alone makes answers better. Greedy decoding takes the likeliest token
        anyway, so there most of the difference is gone. Compare at both temperatures before you
        believe in a gain.
      </>
    ),
    action: "Ask both, at temperature 1",
    settings: {},
    go: (lab) =>
      lab.ask(
        "Ida has 12 coins. Ida finds 7. Ida doubles them. How many coins are there now?",
        1,
        3,
      ),
  },
  {
    title: "When it fails",
    text: (
      <>
        Here the model is to learn codes by heart that it cannot guess. Each begins with p near 1 /
        30, so DFT's weight is near 1 / 30: it waits for what never comes, while SFT learns. Where
        the base does not know the answer already (a mean p below 0.1), take SFT, or a floor under
        the weight.
      </>
    ),
    action: "Train on new facts",
    settings: { a: "nll", b: "sg(p) * nll", task: "facts", steps: 40, learningRate: 5e-3 },
    go: (lab) => lab.play(),
  },
  {
    title: "Your own",
    text: (
      <>
        Write a loss into a box: it is checked as you type, and drawn. Try a floor,{" "}
        <code>sg(max(p, 0.2)) * nll</code>, or SFT first and DFT later,{" "}
        <code>sg(where(progress {"<"} 0.3, 1, p)) * nll</code>. The link in the address bar carries
        your settings.
      </>
    ),
    action: "Put a floor under DFT",
    settings: {
      a: "sg(p) * nll",
      b: "sg(max(p, 0.2)) * nll",
      task: "facts",
      steps: 40,
      learningRate: 5e-3,
    },
    go: (lab) => lab.play(),
  },
]

/** Five stops; each says what to look at and sets it up. */
export function Tour({ lab, onClose }: { readonly lab: Lab; readonly onClose: () => void }) {
  const [at, setAt] = useState(0)
  const { title, text, action, settings, go } = STOPS[at]!
  const { phase } = lab.state
  const begin = async () => {
    const keep = Object.keys(settings).length === 0
    if (!keep) {
      const { learningRate, rank, steps } = DEFAULTS
      await lab.change({ learningRate, rank, steps, ...settings })
    }
    await go?.(lab)
  }
  return (
    <aside class="card tour" aria-label="Guided tour">
      <p class="note">
        {at + 1} of {STOPS.length}
      </p>
      <h2>{title}</h2>
      <p>{text}</p>
      <div class="row">
        <button
          type="button"
          class="primary"
          disabled={phase === "loading" || phase === "training"}
          onClick={begin}
        >
          {action}
        </button>
        <button type="button" disabled={at === 0} onClick={() => setAt(at - 1)}>
          Back
        </button>
        {at < STOPS.length - 1 ? (
          <button type="button" onClick={() => setAt(at + 1)}>
            Next
          </button>
        ) : (
          <button type="button" onClick={onClose}>
            Done
          </button>
        )}
        <button type="button" onClick={onClose}>
          Close the tour
        </button>
      </div>
    </aside>
  )
}

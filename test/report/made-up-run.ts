import type { RunEvent } from "../../src/run/events.ts"

/** A run that never happened, of plausible shape: SFT lifts all tokens, DFT makes them bimodal. */
export function madeUpRun({
  objective,
  steps,
}: {
  objective: "sft" | "dft"
  steps: number
}): RunEvent[] {
  const start = Date.UTC(2026, 0, 1)
  const time = (step: number) => new Date(start + step * 2000).toISOString()
  const dft = objective === "dft"
  const events: RunEvent[] = [
    {
      ...{ type: "run.start", time: time(0), step: 0, run_id: `made-up-${objective}` },
      ...{ engine: "onnx", device: "cpu", steps, objective },
      parameters: { total: 494_032_768, trained: 494_032_768 },
      supervised_tokens_per_epoch: 100_000,
      normalization: "sum over the step's supervised tokens / their number",
    },
    histogram(0, [900, 120, 90, 80, 80, 90, 110, 150, 260, 1900]),
  ]
  for (let step = 1; step <= steps; step++) {
    const done = step / steps
    const wobble = 0.1 * Math.sin(step * 1.7) + 0.05 * Math.cos(step * 0.31)
    const nll = dft ? 0.9 + 1.1 * done + wobble : 0.9 - 0.5 * done + wobble
    const p = 0.7 + (dft ? 0.18 : 0.12) * (1 - Math.exp(-4 * done)) - 0.1 * wobble
    events.push({
      ...{ type: "step", time: time(step), step },
      loss: dft ? 0.12 - 0.05 * done + 0.1 * wobble : nll,
      nll,
      mean_p: p,
      mean_weight: dft ? p : 1,
      effective_tokens: dft ? 800 + 10 * wobble : 1000,
      entropy: (dft ? 0.5 : 0.7) - 0.3 * done,
      token_accuracy: p + 0.05,
      eos_p: dft ? 2e-6 * (1 + done) : 0.92 * done,
      grad_norm: (dft ? 0.4 : 3) * (1 + wobble),
      learning_rate: 5e-5 * (1 - done),
      epoch: done,
      tokens: step * 2000,
      supervised_tokens: step * 1000,
      tokens_per_second: 1234 + 100 * wobble,
      memory_bytes: 2.1e9 + step * 1e5,
    })
    if (step % 20 === 0) {
      const at = { type: "eval", time: time(step), step, name: "gsm8k-test" } as const
      events.push({ ...at, nll: nll + 0.1, loss: nll, mean_p: p - 0.03 })
    }
    if (step === Math.ceil(steps / 2)) {
      events.push(
        {
          ...{ type: "warning", time: time(step), step, code: "abandoned-end-of-turn" },
          message: "the end of turn targets have a mean probability of 2.1e-6",
          hint: "set objective.keep_special: true",
        },
        { type: "checkpoint", time: time(step), step, path: `checkpoints/step-${step}` },
      )
    }
  }
  events.push(
    histogram(
      steps,
      dft
        ? [1100, 20, 15, 12, 10, 12, 20, 35, 90, 2466]
        : [420, 160, 130, 120, 120, 140, 170, 220, 400, 1900],
    ),
  )
  const score = dft ? 0.52 : 0.44
  events.push(
    {
      ...{ type: "eval", time: time(steps), step: steps, name: "arithmetic", n: 400, score },
      ci95: [score - 0.05, score + 0.05],
    },
    {
      ...{ type: "sample", time: time(steps), step: steps },
      prompt: "Tom has 3 boxes of 4 <apples>. How many?",
      completion: dft ? "3 * 4 = 12.\n#### 12" : "He has 3 + 4 = 7.",
      tokens: dft
        ? ["3", " *", " 4", " =", " 12", ".\n", "####", " 12"]
        : "He| has| 3| +| 4| =| 7|.".split("|"),
      probabilities: dft
        ? [0.9, 0.99, 1, 0.97, 0.88, 0.6, 0.03, 0.7]
        : [0.4, 0.8, 0.9, 0.2, 0.95, 0.9, 0.5, 0.8],
    },
    { type: "run.end", time: time(steps + 1), step: steps, reason: "done", output: "model" },
  )
  return events

  function histogram(step: number, bins: number[]): RunEvent {
    const low = bins[0]!
    const small_bins = dft && step > 0 ? [500, 200, 200] : [0.1, 0.2, 0.3].map((x) => low * x)
    return { type: "histogram", time: time(step), step, name: "train", bins, small_bins }
  }
}

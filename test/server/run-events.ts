/** Events as a run writes them, for runs whose answer is known. */
const time = "2026-01-01T00:00:00.000Z"

export const startEvent = {
  ...{ type: "run.start", time, step: 0, run_id: "a", engine: "onnx", device: "cpu" },
  ...{ parameters: { total: 10, trained: 10 }, supervised_tokens_per_epoch: 5 },
  ...{ normalization: "tokens", steps: 9, objective: "dft" },
}

export const stepEvent = (step: number, fields: object = {}) => ({
  ...{ type: "step", time: new Date(Date.parse(time) + 1000 * step).toISOString(), step },
  ...{ loss: step / 10, nll: 1, mean_p: 0.5, mean_weight: 0.5 },
  ...{ effective_tokens: 1, entropy: 1, token_accuracy: 0.5, eos_p: null, grad_norm: 1 },
  ...{ learning_rate: 1e-5, epoch: 0, tokens: 10 * step, supervised_tokens: step },
  ...{ tokens_per_second: 1, memory_bytes: 1 },
  ...fields,
})

export const evalEvent = (step: number, fields: object) => ({ type: "eval", time, step, ...fields })

export const endEvent = (step: number, reason = "done") => ({ type: "run.end", time, step, reason })

export const linesOf = (events: readonly object[]) =>
  events.map((event) => `${JSON.stringify(event)}\n`).join("")

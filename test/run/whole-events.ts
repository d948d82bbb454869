/** An event with the fields that readers ask of its type, what is given in their place. */
const FIELDS: Readonly<Record<string, object>> = {
  "run.start": {
    run_id: "this",
    engine: "torch",
    device: "cpu",
    parameters: { total: 1, trained: 1 },
    normalization: "in words",
    steps: 5,
    objective: "dft",
  },
  step: {
    ...{ loss: 1, nll: 1, grad_norm: 1, learning_rate: 1e-4, epoch: 1 },
    ...{ tokens: 1, supervised_tokens: 1, tokens_per_second: 1, memory_bytes: 1 },
  },
  sample: { prompt: "", completion: "", tokens: [], probabilities: [] },
}

export function wholeEvent(event: { readonly type: string }): object {
  return { time: "", step: 0, ...FIELDS[event.type], ...event }
}

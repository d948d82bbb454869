import { asLetters, choiceSuite } from "./choices.ts"

/** 14,042 questions of 57 subjects (Hendrycks et al., 2021), without examples before them. */
export const mmlu = choiceSuite(
  {
    name: "mmlu",
    title: "MMLU",
    files: ["mmlu/test.jsonl", "mmlu.jsonl"],
    hub: { id: "cais/mmlu", name: "all", split: "test" },
  },
  asLetters,
)

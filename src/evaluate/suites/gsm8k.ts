import { field, type Suite } from "./suite.ts"

/** 1,319 grade-school word problems; the gold answer follows `####`. */
export const gsm8k: Suite = {
  name: "gsm8k",
  title: "GSM8K",
  files: ["gsm8k/test.jsonl", "gsm8k.jsonl"],
  hub: { id: "openai/gsm8k", name: "main", split: "test" },
  read: (row, where) => ({
    problem: field(row, ["question", "problem"], where),
    gold: field(row, ["answer"], where),
  }),
}

import { instructionsOf } from "../judges/instructions.ts"
import { field, type Suite } from "./suite.ts"

/** 541 prompts with instructions that a program can check (Zhou et al., 2023). */
export const ifeval: Suite = {
  name: "ifeval",
  title: "IFEval",
  files: ["ifeval/train.jsonl", "ifeval.jsonl", "input_data.jsonl"],
  hub: { id: "google/IFEval", split: "train" },
  judge: "instructions",
  read: (row, where) => ({
    id: `ifeval/${field(row, ["key", "id"], where)}`,
    problem: field(row, ["prompt"], where),
    gold: JSON.stringify(instructionsOf(row, where)),
  }),
}

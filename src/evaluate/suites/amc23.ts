import { answerOrBox, field, type Suite } from "./suite.ts"

/** AMC 12 2023: 40 problems with numeric answers. */
export const amc23: Suite = {
  name: "amc23",
  title: "AMC 12 2023",
  files: ["amc23/test.jsonl", "amc23.jsonl"],
  hub: { id: "math-ai/amc23", split: "test" },
  read: (row, where) => ({
    problem: field(row, ["problem", "question"], where),
    gold: answerOrBox(row, where),
    ...(row.id === undefined ? {} : { id: String(row.id) }),
  }),
}

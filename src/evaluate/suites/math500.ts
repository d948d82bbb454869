import { answerOrBox, field, type Suite } from "./suite.ts"

/** 500 problems of MATH's test split (the PRM800K selection). */
export const math500: Suite = {
  name: "math500",
  title: "MATH-500",
  files: [
    "math500/math500_test.json",
    "math500/test.jsonl",
    "math500.jsonl",
    "math_oai/test.jsonl",
  ],
  hub: { id: "HuggingFaceH4/MATH-500", split: "test" },
  read: (row, where) => ({
    problem: field(row, ["problem", "question"], where),
    gold: answerOrBox(row, where),
    ...(typeof row.unique_id === "string" ? { id: row.unique_id } : {}),
  }),
}

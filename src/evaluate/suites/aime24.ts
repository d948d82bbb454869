import { answerOrBox, field, type Suite } from "./suite.ts"

/** AIME 2024, I and II: 30 problems, answers from 0 to 999. */
export const aime24: Suite = {
  name: "aime24",
  title: "AIME 2024",
  files: ["aime24/test.jsonl", "aime24.jsonl"],
  hub: { id: "HuggingFaceH4/aime_2024", split: "train" },
  read: (row, where) => ({
    problem: field(row, ["problem", "question"], where),
    gold: answerOrBox(row, where),
    ...(row.id === undefined ? {} : { id: String(row.id) }),
  }),
}

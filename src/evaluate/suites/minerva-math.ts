import { answerOrBox, field, type Suite } from "./suite.ts"

/** 272 undergraduate science problems; the gold answer is the solution's box, units outside it. */
export const minervaMath: Suite = {
  name: "minerva_math",
  title: "Minerva Math",
  files: ["minerva_math/test.jsonl", "minerva_math.jsonl"],
  hub: { id: "math-ai/minervamath", split: "test" },
  read: (row, where) => ({
    problem: field(row, ["problem", "question"], where),
    gold: answerOrBox(row, where),
    ...(row.idx === undefined ? {} : { id: String(row.idx) }),
  }),
}

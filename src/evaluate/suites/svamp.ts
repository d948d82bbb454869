import { field, type Suite } from "./suite.ts"

/** 300 word problems of one step, worded to mislead (Patel et al., 2021). */
export const svamp: Suite = {
  name: "svamp",
  title: "SVAMP",
  files: ["svamp/test.jsonl", "svamp/test.json", "svamp.jsonl"],
  hub: { id: "ChilleD/SVAMP", split: "test" },
  read: (row, where) => ({
    problem:
      typeof row.question_concat === "string"
        ? row.question_concat
        : `${field(row, ["Body"], where).trim()} ${field(row, ["Question"], where).trim()}`,
    gold: field(row, ["Answer"], where),
    ...(typeof row.ID === "string" ? { id: row.ID } : {}),
  }),
}

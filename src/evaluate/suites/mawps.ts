import { field, type Suite } from "./suite.ts"

/**
 * Word problems of a few steps (Koncel-Kedziorski et al., 2016), as the Calc-X collection has them.
 */
export const mawps: Suite = {
  name: "mawps",
  title: "MAWPS",
  files: ["mawps/test.jsonl", "mawps.jsonl"],
  hub: { id: "MU-NLPC/Calc-mawps", split: "test" },
  read: (row, where) => ({
    problem: field(row, ["question"], where),
    // thousands are written 1_200 there
    gold: field(row, ["result"], where).replaceAll(/(?<=\d)_(?=\d)/g, ""),
    ...(typeof row.id === "string" ? { id: row.id } : {}),
  }),
}

import { InputError } from "../../errors.ts"
import { field, type Suite } from "./suite.ts"

/** 675 open-ended competition problems in English; several gold answers must all be given. */
export const olympiadbench: Suite = {
  name: "olympiadbench",
  title: "OlympiadBench",
  files: ["olympiadbench/test.jsonl", "olympiadbench.jsonl"],
  hub: { id: "Hothan/OlympiadBench", name: "OE_TO_maths_en_COMP", split: "train" },
  read: (row, where) => {
    const { final_answer: gold } = row
    if (!Array.isArray(gold) || gold.length === 0) {
      throw new InputError(`${where}: expected final_answer to be a list of answers`)
    }
    const context = typeof row.context === "string" ? `${row.context}\n` : ""
    return {
      problem: context + field(row, ["question", "problem"], where),
      gold: gold.map(String),
      ...(row.id === undefined ? {} : { id: String(row.id) }),
    }
  },
}

import type { ProgramGold } from "../judges/programs.ts"
import { field, type Suite } from "./suite.ts"

/** 164 functions in Python, each with tests (Chen et al., 2021). */
export const humaneval: Suite = {
  name: "humaneval",
  title: "HumanEval",
  files: ["humaneval/test.jsonl", "HumanEval.jsonl", "humaneval.jsonl"],
  hub: { id: "openai/openai_humaneval", split: "test" },
  judge: "programs",
  read: (row, where) => {
    const prompt = field(row, ["prompt"], where)
    const entry = field(row, ["entry_point"], where)
    const gold: ProgramGold = {
      entry,
      prompt,
      // helpers of the prompt are the tests' own; the function that is asked for is the program's
      setup: `${prompt.trimEnd()}\n    pass\n`,
      tests: `${field(row, ["test"], where)}\ncheck(${entry})\n`,
      functions: [entry],
    }
    return {
      id: field(row, ["task_id"], where),
      problem: `Complete this Python function. Answer with the whole function in a block of code.\n\n\`\`\`python\n${prompt.trimEnd()}\n\`\`\``,
      continues: prompt,
      gold: JSON.stringify(gold),
    }
  },
}

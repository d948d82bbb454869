import { InputError } from "../../errors.ts"
import type { ProgramGold } from "../judges/programs.ts"
import { field, type Suite } from "./suite.ts"

/** Short Python problems with three tests each, the checked part (Austin et al., 2021). */
export const mbpp: Suite = {
  name: "mbpp",
  title: "MBPP, sanitized",
  files: ["mbpp/test.jsonl", "sanitized-mbpp.json", "mbpp.jsonl"],
  hub: { id: "google-research-datasets/mbpp", name: "sanitized", split: "test" },
  judge: "programs",
  read: (row, where) => {
    const tests = texts(row.test_list, `${where}: test_list`)
    const imports = texts(row.test_imports ?? [], `${where}: test_imports`)
    const setup = typeof row.test_setup_code === "string" ? row.test_setup_code : ""
    const code = field(row, ["code"], where)
    const entry = calledIn(tests, code)
    if (entry === undefined)
      throw new InputError(`${where}: expected tests that call a function of code`)
    const gold: ProgramGold = {
      entry,
      prompt: "",
      setup: [...imports, setup].join("\n"),
      tests: tests.join("\n"),
    }
    const asked = field(row, ["prompt", "text"], where)
    const shown = tests.map((test) => test.trim()).join("\n")
    return {
      id: `mbpp/${field(row, ["task_id"], where)}`,
      problem: `${asked}\nAnswer with a Python function in a block of code. It passes these tests:\n\n\`\`\`python\n${shown}\n\`\`\``,
      continues: `"""\n${asked}\n${shown}\n"""\n`,
      gold: JSON.stringify(gold),
    }
  },
}

function texts(value: unknown, where: string): string[] {
  if (Array.isArray(value) && value.every((one) => typeof one === "string")) return value
  throw new InputError(`${where}: expected a list of texts`)
}

/** The function of the solution that the tests call. */
function calledIn(tests: readonly string[], code: string): string | undefined {
  const defined = [...code.matchAll(/^def (\w+)/gm)].map(([, name]) => name!)
  return defined.find((name) => tests.some((test) => new RegExp(`\\b${name}\\s*\\(`).test(test)))
}

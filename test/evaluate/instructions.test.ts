import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import { instructionJudge } from "../../src/evaluate/judges/instructions.ts"
import { openSuite } from "../../src/evaluate/suites/index.ts"

async function judged(id: string, args: object, answer: string) {
  await using judge = instructionJudge()
  const gold = JSON.stringify({ instructions: [{ id, args }] })
  const [verdict] = await judge.judge([{ completion: answer, gold }])
  return verdict!.decided ? verdict!.correct : null
}

const least = (key: string, n: number, relation = "relation") => ({
  [key]: n,
  [relation]: "at least",
})

test.each([
  ["keywords:existence", { keywords: ["Red", "sky"] }, "A red SKY.", "A red sea."],
  ["keywords:frequency", { keyword: "a.b", ...least("frequency", 2) }, "a.b a.b", "a.b axb"],
  ["keywords:forbidden_words", { forbidden_words: ["cat"] }, "concatenate", "The Cat."],
  [
    "keywords:letter_frequency",
    { letter: "e", ...least("let_frequency", 3, "let_relation") },
    "Eel, ewe",
    "eel",
  ],
  [
    "length_constraints:number_sentences",
    { num_sentences: 2, relation: "less than" },
    "One is 3.5 m.",
    "One. Two.",
  ],
  ["length_constraints:number_words", least("num_words", 3), "one two three", "one two"],
  [
    "length_constraints:number_paragraphs",
    { num_paragraphs: 2 },
    "a\n***\nb\n***\n",
    "a\n***\n\n***\nb",
  ],
  [
    "length_constraints:nth_paragraph_first_word",
    { num_paragraphs: 2, nth_paragraph: 2, first_word: "Then" },
    'a\n\n"Then, b',
    "a\n\nb then",
  ],
  ["detectable_content:number_placeholders", { num_placeholders: 2 }, "[a] and [b]", "[a]"],
  ["detectable_content:postscript", { postscript_marker: "P.S." }, "Bye.\nP.S. one", "Bye. PS"],
  ["detectable_format:number_bullet_lists", { num_bullets: 2 }, "* a\n- b", "* a\n* b\n* c"],
  ["detectable_format:constrained_response", {}, "My answer is no.", "no"],
  [
    "detectable_format:number_highlighted_sections",
    { num_highlights: 2 },
    "*a* and **b**",
    "*a* and ** **",
  ],
  [
    "detectable_format:multiple_sections",
    { section_spliter: "SECTION", num_sections: 2 },
    "SECTION 1 a SECTION 2 b",
    "SECTION a",
  ],
  ["detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"],
  ["detectable_format:title", {}, "<<A song>>\nla", "<< >>"],
  ["detectable_format:title", {}, "Of <<A <b> song>>.", "a << >> song\n<<a\nsong>>"],
  ["combination:two_responses", {}, "a\n******\nb", "a******a"],
  ["combination:repeat_prompt", { prompt_to_repeat: "Say it" }, "say it: it", "it"],
  ["startend:end_checker", { end_phrase: "The end." }, 'Well. the end."', "The end. No."],
  ["startend:quotation", {}, '"all of it"', '"not" all'],
  [
    "change_case:capital_word_frequency",
    least("capital_frequency", 2, "capital_relation"),
    "NOW or NEVER",
    "Now or NEVER",
  ],
  ["change_case:english_capital", {}, "ALL OF IT, 3!", "All"],
  ["change_case:english_lowercase", {}, "all of it, 3!", "All"],
  ["punctuation:no_comma", {}, "a b", "a, b"],
])("%s: %o", async (id, args, good, bad) => {
  expect([await judged(id, args, good), await judged(id, args, bad)]).toEqual([true, false])
  expect(await judged(id, args, " ")).toBe(false)
})

test.each([
  ["detectable_format:title", {}, "<".repeat(40_000) + "a".repeat(40_000)],
  [
    "detectable_format:number_highlighted_sections",
    { num_highlights: 1 },
    `**${"a".repeat(80_000)}`,
  ],
])(
  "%s says no to an answer that never closes, without trying all pairs",
  async (id, args, answer) => {
    expect(await judged(id, args, answer)).toBe(false)
  },
)

test("all of a row's instructions count; of a language nothing is decided", async () => {
  const row = {
    key: 7,
    prompt: "Write.",
    instruction_id_list: ["punctuation:no_comma", "change_case:english_lowercase"],
    kwargs: [{}, null],
  }
  const folder = mkdtempSync(join(tmpdir(), "dftune-ifeval-"))
  writeFileSync(join(folder, "ifeval.jsonl"), `${JSON.stringify(row)}\n`)
  const { judge, problems } = await openSuite("ifeval", { folder })
  expect([judge, problems[0]!.id]).toEqual(["instructions", "ifeval/7"])
  await using judges = instructionJudge()
  const items = ["all fine", "All fine"].map((completion) => ({
    completion,
    gold: problems[0]!.gold,
  }))
  const [yes, no] = await judges.judge(items)
  expect(yes!.correct).toBe(true)
  expect(no!.reason).toBe("not followed: change_case:english_lowercase")
  expect(await judged("language:response_language", { language: "hi" }, "नमस्ते")).toBe(null)
  const unknown = { ...row, instruction_id_list: ["keywords:exist"] }
  writeFileSync(join(folder, "ifeval.jsonl"), `${JSON.stringify(unknown)}\n`)
  await expect(openSuite("ifeval", { folder })).rejects.toThrow(
    /ifeval\.jsonl:1: unknown instruction/,
  )
  const lacking = { ...row, instruction_id_list: ["length_constraints:number_words"] }
  writeFileSync(join(folder, "ifeval.jsonl"), `${JSON.stringify(lacking)}\n`)
  await expect(openSuite("ifeval", { folder })).rejects.toThrow(
    /ifeval\.jsonl:1: length_constraints:number_words: expected num_words to be a number/,
  )
})

import { expect, test } from "vitest"
import { readRow } from "../../src/data/rows/index.ts"
import { previewed } from "./previewed.ts"

/** Writes tools, calls and results, so that what is dropped would be seen. */
const TOOLS = `{% if tools %}<|im_start|>tools {% for tool in tools %}{{ tool.function.name }}{% endfor %}<|im_end|>{% endif %}{% for message in messages %}<|im_start|>{{ message.role }} {{ message.content }}{% if message.tool_calls %}{% for call in message.tool_calls %}[call {{ call.function.name }} {{ call.function.arguments | tojson }}]{% endfor %}{% endif %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant {% endif %}`

const user = { role: "user", content: "weather in Oslo?" }
const called = (place: string) => ({
  role: "assistant",
  content: "",
  tool_calls: [{ type: "function", function: { name: "weather", arguments: { place } } }],
})
const result = { role: "tool", content: "4 degrees" }
const says = (content: string) => ({ role: "assistant", content })
const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object" } } }]

test("a chat pair with an implicit prompt and a tool call: the call they share is prompt", async () => {
  const before = [user, called("Oslo"), result]
  const row = {
    tools,
    chosen: [...before, says("4 degrees.")],
    rejected: [...before, says("No idea.")],
  }
  const { marked, codes } = await previewed([row], { purpose: "preference", template: TOOLS })
  const start =
    '<|im_start|>tools weather<|im_end|><|im_start|>user weather in Oslo?<|im_end|><|im_start|>assistant [call weather {"place": "Oslo"}]<|im_end|><|im_start|>tool 4 degrees<|im_end|><|im_start|>assistant '
  expect(marked).toEqual([`${start}⟦4 degrees.<|im_end|>⟧`, `${start}⟦No idea.<|im_end|>⟧`])
  for (const code of ["unused-keys", "dropped-tools", "dropped-tool-call"]) {
    expect(codes).not.toContain(code)
  }
})

test("calls that differ are the answers, though both say nothing beside them", async () => {
  const side = (place: string) => [user, called(place), result, says("4 degrees.")]
  const row = { tools, chosen: side("Oslo"), rejected: side("Bergen") }
  const { marked } = await previewed([row], { purpose: "preference", template: TOOLS })
  expect(marked[0]).toContain('assistant ⟦[call weather {"place": "Oslo"}]<|im_end|>⟧')
  expect(marked[1]).toContain('assistant ⟦[call weather {"place": "Bergen"}]<|im_end|>⟧')
  // what the tool says is nobody's answer
  expect(marked[1]).toMatch(/⟧<\|im_start\|>tool 4 degrees<\|im_end\|>.*⟦4 degrees\./)
})

test("the order of a call's keys makes no other prompt", async () => {
  const turn = { content: "", role: "assistant", tool_calls: called("Oslo").tool_calls }
  const row = {
    chosen: [user, called("Oslo"), says("yes")],
    rejected: [user, turn, says("no")],
  }
  const { marked } = await previewed([row], { purpose: "preference", template: TOOLS })
  expect(marked[1]).toMatch(/⟧?.*⟦no<\|im_end\|>⟧$/)
  expect(marked[1]!.split("⟦")).toHaveLength(2)
})

test.each([
  [{ prompt: [user], system: "be short" }],
  [{ question: "weather in Oslo?", system: "be short" }],
])("what the row tells first is told to both: %j", async (asked) => {
  const row = { ...asked, chosen: "4", rejected: "warm" }
  const { marked, codes } = await previewed([row], { purpose: "preference" })
  const start =
    "<|im_start|>system\nbe short<|im_end|>\n<|im_start|>user\nweather in Oslo?<|im_end|>\n<|im_start|>assistant\n"
  expect(marked[0]).toBe(`${start}⟦4<|im_end|>⟧\n`)
  expect(marked[1]).toBe(`${start}⟦warm<|im_end|>⟧\n`)
  expect(codes).not.toContain("unused-keys")
})

test("a question of a model without a template is the question and a newline; a prompt is as it is", async () => {
  const options = { purpose: "preference", template: null } as const
  const asked = await previewed([{ question: "q", chosen: "a", rejected: "b" }], options)
  expect(asked.marked[0]).toBe("q\n⟦a<eos>⟧")
  const prompted = await previewed([{ prompt: "q ", chosen: "a", rejected: "b" }], options)
  expect(prompted.marked[0]).toBe("q ⟦a<eos>⟧")
})

test("one answer inside the other is named and kept", async () => {
  const rows = [
    { prompt: "q ", chosen: "yes", rejected: "yes, and more" },
    { prompt: "r ", chosen: "a, b", rejected: "a" },
    { prompt: "s ", chosen: "one", rejected: "two" },
  ]
  const { lints, examples } = await previewed(rows, { purpose: "preference", template: null })
  const [found] = lints.filter(({ code }) => code === "side-inside")
  expect(found!.message).toContain("2 rows whose one answer begins with all of the other")
  expect(found!.severity).toBe("warning")
  expect(examples).toHaveLength(6)
})

test("equal sides are left out one by one, until they are more than half: then nothing is trained", async () => {
  const rows = (equal: number) =>
    Array.from({ length: 8 }, (_, i) => {
      return { prompt: `q${i} `, chosen: "yes", rejected: i < equal ? "yes" : "no" }
    })
  const told = async (equal: number) => {
    const { lints } = await previewed(rows(equal), { purpose: "preference" })
    return lints.find(({ code }) => code === "equal-sides")?.severity
  }
  expect(await told(0)).toBeUndefined()
  expect(await told(4)).toBe("warning")
  expect(await told(5)).toBe("error")
})

test.each([
  ["labels", { prompt: "a", chosen: "b", rejected: "c" }, "label, true for chosen and false"],
  ["rewards", { prompt: "a", chosen: "b", rejected: "c" }, "two rows with their rewards"],
  ["preference", { prompt: "a", completion: "b", label: true }, "objective: kto"],
  ["preference", { messages: [user, says("4")] }, "objective: sft or dft"],
  ["preference", { prompt: "a", chosen: "b" }, 'it has "chosen" but no "rejected"'],
] as const)("rows for %s that are another's say what trains them: %j", (purpose, row, said) => {
  const read = () => readRow(row, { format: "auto", purpose, where: "rows.jsonl:1" })
  expect(read).toThrow(said)
  expect(read).toThrow(/^rows.jsonl:1: expected /)
})

import { expect, test } from "vitest"
import { type ChatMessage, chatTemplate } from "../../src/text/index.ts"

const own = (source: string, specialTokens: readonly string[] = []) =>
  chatTemplate({ path: "own", source, tokens: { eos_token: "</s>" }, specialTokens })

/** What each assistant message says, what is not its between «», its closing behind a bar. */
function said(template: ReturnType<typeof own>, messages: readonly ChatMessage[]): string[] {
  const { text, spans } = template.renderWithSpans(messages)
  return spans.map(({ start, end, turnEnd, gaps = [] }) => {
    let words = ""
    let from = start
    for (const [gapStart, gapEnd] of gaps) {
      words += `${text.slice(from, gapStart)}«${text.slice(gapStart, gapEnd)}»`
      from = gapEnd
    }
    return `${words}${text.slice(from, Math.max(from, end))}|${text.slice(Math.max(from, end), turnEnd)}`
  })
}

const call = (city: string) => ({ type: "function", function: { name: "f", arguments: { city } } })
const CHAT: ChatMessage[] = [
  { role: "user", content: "q" },
  { role: "assistant", content: "", tool_calls: [call("Rome")] },
  { role: "tool", content: "sun" },
  { role: "assistant", content: "Sunny." },
  { role: "user", content: "and?" },
  { role: "assistant", content: "Look.", tool_calls: [call("Oslo")] },
]

/** No generation prompt, no header, and a result without a call before it is refused. */
const LIKE_MISTRAL = `{%- set ns = namespace(called=false) %}
{%- for m in messages %}
{%- if m.role == 'user' %}[INST] {{ m.content }}[/INST]
{%- elif m.role == 'tool' %}
{%- if not ns.called %}{{ raise_exception('no call') }}{% endif %}[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]
{%- elif m.tool_calls %}{% set ns.called = true %}[TOOL_CALLS] {{ m.tool_calls|map(attribute='function')|list|tojson }}</s>
{%- else %} {{ m.content }}</s>
{%- endif %}{% endfor %}`

test("calls of templates like Mistral's", () => {
  expect(said(own(LIKE_MISTRAL, ["</s>"]), CHAT)).toEqual([
    '[TOOL_CALLS] [{"name": "f", "arguments": {"city": "Rome"}}]|</s>',
    "Sunny.|</s>",
    '[TOOL_CALLS] [{"name": "f", "arguments": {"city": "Oslo"}}]|</s>',
  ])
})

/** A header, another beginning for calls than for answers, and no generation prompt. */
const LIKE_COMMAND_R = `{% for m in messages %}<turn><{{ m.role }}>
{%- if m.tool_calls %}<action>{{ m.tool_calls[0].function|tojson }}</action>
{%- elif m.role == 'assistant' %}<response>{{ m.content }}</response>
{%- else %}{{ m.content }}
{%- endif %}<end>{% endfor %}<turn><assistant>`

test("calls of templates like Command-R's", () => {
  expect(said(own(LIKE_COMMAND_R, ["<end>", "<turn>"]), CHAT)).toEqual([
    '<action>{"name": "f", "arguments": {"city": "Rome"}}</action>|<end>',
    "Sunny.|</response>",
    '<action>{"name": "f", "arguments": {"city": "Oslo"}}</action>|<end>',
  ])
})

/** The header goes on differently for calls, and they end in their own way. */
const LIKE_GPT_OSS = `{% for m in messages %}<|start|>{{ m.role }}
{%- if m.tool_calls %} to={{ m.tool_calls[0].function.name }}<|message|>{{ m.tool_calls[0].function.arguments|tojson }}<|call|>
{%- elif m.role == 'assistant' %}<|channel|>final<|message|>{{ m.content }}{{ '<|return|>' if loop.last else '<|end|>' }}
{%- else %}<|message|>{{ m.content }}<|end|>
{%- endif %}{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}`

test("calls of templates like gpt-oss'", () => {
  const special = ["<|call|>", "<|end|>", "<|return|>"]
  expect(said(own(LIKE_GPT_OSS, special), CHAT)).toEqual([
    ' to=f<|message|>{"city": "Rome"}|<|call|>',
    "<|channel|>final<|message|>Sunny.|<|end|>",
    ' to=f<|message|>{"city": "Oslo"}|<|call|>',
  ])
})

/** Writes the results that follow inside the turn of the assistant who called. */
const LIKE_GEMMA = `{% for m in messages if m.role != 'tool' %}
{%- set at = loop.index0 %}<start>{{ m.role }}
{% for c in m.tool_calls or [] %}<call>{{ c.function.arguments.city }}</call>{% endfor %}
{%- if m.tool_calls %}
{%- for i in range(messages|length) %}
{%- set other = messages[i] %}
{%- if other.role == 'tool' and messages[i - 1] == m %}<result>{{ other.content }}</result>{% endif %}
{%- endfor %}
{%- endif %}{{ m.content }}<end>
{% endfor %}{% if add_generation_prompt %}<start>assistant
{% endif %}`

test("a tool's result inside the assistant's turn is not what it says", () => {
  const messages = [CHAT[0]!, { ...CHAT[1]!, content: "So:" }, CHAT[2]!]
  expect(said(own(LIKE_GEMMA, ["<end>"]), messages)).toEqual([
    "<call>Rome</call>«<result>sun</result>»So:|<end>",
  ])
})

/** The end of the text stands in a block of its own, behind the loop. */
const EOS_BLOCK = `{% for m in messages %}<{{ m.role }}>
{%- if m.role == 'assistant' %}{% generation %}{{ m.content }}<end>{% endgeneration %}
{%- else %}{{ m.content }}<end>
{%- endif %}{% endfor %}{% generation %}{{ eos_token }}{% endgeneration %}`

test("generation blocks: several for one message, and one behind the loop", () => {
  expect(said(own(EOS_BLOCK, ["<end>", "</s>"]), [CHAT[0]!, CHAT[3]!])).toEqual([
    "Sunny.|<end></s>",
  ])
  const parts = `{% for m in messages %}{% if m.role == 'assistant' %}
{%- generation %}{{ m.thinking }}{% endgeneration %}</think>{% generation %}{{ m.content }}<end>{% endgeneration %}
{%- else %}{{ m.content }}{% endif %}{% endfor %}`
  const messages = [CHAT[0]!, { ...CHAT[3]!, thinking: "hm" }, CHAT[4]!, CHAT[3]!]
  expect(said(own(parts), messages)).toEqual(["hm«</think>»Sunny.|<end>", "«</think>»Sunny.|<end>"])
})

test("a message without a block says nothing; blocks that tell no message must be as many", () => {
  const last = `{% for m in messages %}{% if m.role == 'assistant' and loop.last %}
{%- generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}`
  const messages = [CHAT[0]!, CHAT[3]!, CHAT[4]!, { role: "assistant", content: "Yes." }]
  expect(said(own(last), messages)).toEqual(["Yes.|"])
  const outside =
    "{% generation %}{{ messages[1].content }}{% endgeneration %}{{ messages|length }}"
  expect(said(own(outside), [CHAT[0]!, CHAT[3]!])).toEqual(["Sunny.|"])
  expect(() => said(own(outside), messages)).toThrow(/1 blocks for 2 messages/)
})

test("characters of the private-use area may stand in a chat", () => {
  const messages = [
    { role: "user", content: "\uE0F0\uE0F1\uE0F2stand\uE0F3in\uE0F2" },
    { role: "assistant", content: "\uE0F0a\uE0F1\uE0F4" },
  ]
  const plain = `{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}`
  expect(said(own(EOS_BLOCK, ["<end>"]), messages)).toEqual(["\uE0F0a\uE0F1\uE0F4|<end></s>"])
  expect(said(own(plain, ["<end>"]), messages)).toEqual(["\uE0F0a\uE0F1\uE0F4|<end>"])
})

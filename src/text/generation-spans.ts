import { InputError } from "../errors.ts"
import type { AssistantSpan, ChatMessage } from "./chat-message.ts"
import type { Marks } from "./jinja/scope.ts"
import {
  attempt,
  callsTools,
  freshCharacters,
  isAssistant,
  type SpanSearch,
  standInFor,
} from "./span-search.ts"

interface Block {
  /** The message that it was written for; null where the template did not have one at hand. */
  readonly owner: number | null
  readonly start: number
  readonly end: number
}

interface Blocks {
  readonly text: string
  readonly blocks: readonly Block[]
}

/** Takes the marks out of a text again. */
function readBlocks(marked: string, { open, between, close }: Marks): Blocks {
  const blocks: Block[] = []
  let text = ""
  let owner: number | null = null
  let start = 0
  for (const part of marked.split(new RegExp(`(${open}\\d*${between}|${close})`))) {
    if (part.startsWith(open)) {
      const number = part.slice(1, -1)
      owner = number === "" ? null : Number(number)
      start = text.length
    } else if (part === close) blocks.push({ owner, start, end: text.length })
    else text += part
  }
  return { text, blocks }
}

/** A message's blocks, the first to the last. */
interface Turn {
  readonly message: number
  readonly blocks: readonly Block[]
}

/**
 * Which message each block belongs to. One without a message at hand, such as an EOS behind the
 * loop, belongs to the message before it; where no block has one, there must be one for each.
 */
function turnsOf(blocks: readonly Block[], said: readonly number[]): Turn[] | undefined {
  if (blocks.every(({ owner }) => owner === null)) {
    if (blocks.length !== said.length) return undefined
    return said.map((message, i) => ({ message, blocks: [blocks[i]!] }))
  }
  const turns: { message: number; blocks: Block[] }[] = []
  for (const block of blocks) {
    const last = turns.at(-1)
    const message = block.owner ?? last?.message
    if (message === undefined || !said.includes(message)) return undefined
    if (last?.message === message) last.blocks.push(block)
    else if (last !== undefined && message < last.message) return undefined
    else turns.push({ message, blocks: [block] })
  }
  return turns
}

const rangeOf = ({ blocks }: Turn): readonly [start: number, end: number] => [
  blocks[0]!.start,
  blocks.at(-1)!.end,
]

function gapsOf({ blocks }: Turn): (readonly [number, number])[] {
  return blocks.slice(1).flatMap(({ start }, i): (readonly [number, number])[] => {
    const before = blocks[i]!.end
    return start > before ? [[before, start]] : []
  })
}

/**
 * What the template's generation blocks enclose; the text without the marks must be the plain one.
 */
export function generationSpans(
  messages: readonly ChatMessage[],
  { text, path, marked }: SpanSearch,
): AssistantSpan[] {
  const said = messages.flatMap((message, i) => (isAssistant(message) ? [i] : []))
  const [open, between, close] = freshCharacters(text, 3) as [string, string, string]
  const marks = { open, between, close }
  const found = readBlocks(marked(messages, marks), marks)
  const turns = found.text === text ? turnsOf(found.blocks, said) : undefined
  if (turns === undefined) {
    throw new InputError(
      `${path}: its {% generation %} blocks do not tell whose words they enclose ` +
        `(${found.blocks.length} blocks for ${said.length} messages of the assistant)`,
    )
  }
  const standIn = standInFor(text + open + between + close)
  const closings = closingsOf(messages, said, standIn, (m) => readBlocks(marked(m, marks), marks))
  return turns.map((turn) => {
    const [start, turnEnd] = rangeOf(turn)
    const closing = closings.get(turn.message) ?? ""
    const holds = closing.length <= turnEnd - start && text.slice(start, turnEnd).endsWith(closing)
    const gaps = gapsOf(turn)
    return {
      message: turn.message,
      start,
      end: holds ? turnEnd - closing.length : turnEnd,
      turnEnd,
      ...(gaps.length === 0 ? {} : { gaps }),
    }
  })
}

/** A block may hold the end of turn as well: it is what follows the message's own text. */
function closingsOf(
  messages: readonly ChatMessage[],
  said: readonly number[],
  standIn: string,
  blocksOf: (messages: readonly ChatMessage[]) => Blocks,
): ReadonlyMap<number, string> {
  const replaced = attempt(() =>
    blocksOf(messages.map((m) => (isAssistant(m) ? { ...m, content: standIn } : m))),
  )
  const turns = replaced === undefined ? undefined : turnsOf(replaced.blocks, said)
  const closings = new Map<number, string>()
  for (const turn of turns ?? []) {
    const whole = replaced!.text.slice(...rangeOf(turn))
    const at = callsTools(messages[turn.message]!) ? -1 : whole.lastIndexOf(standIn)
    if (at >= 0) closings.set(turn.message, whole.slice(at + standIn.length))
  }
  return closings
}

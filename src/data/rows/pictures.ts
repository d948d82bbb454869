/** Pictures of a row: where each stands in what is asked. */
import { InputError } from "../../errors.ts"
import { describeValue, isObject, type JsonObject } from "../../formats/json.ts"
import { PICTURE } from "../../text/chat-message.ts"
import type { PictureSource } from "../pictures/picture.ts"
import { answersOf, type Example, type Message, messagesOf, type Turns } from "./example.ts"
import { has, jsonValue } from "./values.ts"

/** Parts of a message that are pictures, as OpenAI, Transformers and Qwen write them. */
const PART_TYPES = ["image", "image_url", "input_image", "image_path"]
/** Of a part: where the picture is. */
const PART_KEYS = ["image", "image_url", "url", "path", "image_path", "bytes"]
/** Of a row: its pictures, in order. */
export const PICTURE_KEYS = ["images", "image", "image_path", "image_paths"]

/** How data sets mark a picture's place in a text (LLaMA-Factory, ms-swift). */
const MARK = "<image>"

export const isPicturePart = (type: unknown): boolean =>
  typeof type === "string" && PART_TYPES.includes(type)

/** A part's own picture, or a place for the next one of the row's list. */
export function partPicture(part: JsonObject, key: string, where: string): PictureSource {
  const name = PART_KEYS.find((one) => has(part, one))
  if (name === undefined) return { kind: "next" }
  return pictureSource(name === "bytes" ? part : part[name], `${key}.${name}`, where)
}

/** A path, a data URL, `{ url }`, `{ bytes, path }`, or bytes. */
function pictureSource(value: unknown, key: string, where: string): PictureSource {
  if (value instanceof Uint8Array) return { kind: "bytes", bytes: value }
  if (isObject(value)) {
    if (has(value, "bytes")) return { kind: "bytes", bytes: bytesOf(value.bytes, key, where) }
    const inner = ["url", "path", "image"].find((one) => has(value, one))
    if (inner !== undefined) return pictureSource(value[inner], `${key}.${inner}`, where)
  }
  if (typeof value !== "string" || value === "") {
    throw new InputError(
      `${where}: expected "${key}" to be a picture's path, its bytes or a data URL, got ${describeValue(value)}`,
    )
  }
  if (/^data:/i.test(value)) return { kind: "bytes", bytes: dataUrl(value, key, where) }
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(value)) {
    throw new InputError(
      `${where}: "${key}" is an address (${value.slice(0, 60)}), and nothing is fetched; save the picture beside the data file and name its path`,
    )
  }
  if (value.includes("\0")) throw new InputError(`${where}: "${key}" is no path`)
  return { kind: "path", path: value }
}

/** Bytes that happen to be text were read as text (row-files.ts). */
function bytesOf(value: unknown, key: string, where: string): Uint8Array {
  if (value instanceof Uint8Array) return value
  if (typeof value === "string") return new TextEncoder().encode(value)
  throw new InputError(`${where}: expected "${key}.bytes" to be bytes, got ${describeValue(value)}`)
}

function dataUrl(url: string, key: string, where: string): Uint8Array {
  const match = /^data:image\/[\w.+-]+;base64,([A-Za-z0-9+/=\s]*)$/i.exec(url)
  if (match === null) {
    throw new InputError(
      `${where}: expected "${key}" to be data:image/...;base64,..., got ${url.slice(0, 40)}`,
    )
  }
  try {
    return Uint8Array.from(atob(match[1]!), (char) => char.charCodeAt(0))
  } catch {
    throw new InputError(`${where}: "${key}" is no base64`)
  }
}

/** The row's list of pictures, and the key it stands under. */
function rowPictures(row: JsonObject, where: string) {
  const key = PICTURE_KEYS.find((name) => has(row, name))
  if (key === undefined) return { key, list: [] }
  const value = jsonValue(row[key], key, where)
  const list = Array.isArray(value) ? value : [value]
  return {
    key,
    list: list.map((one, i) =>
      pictureSource(one, Array.isArray(value) ? `${key}[${i}]` : key, where),
    ),
  }
}

export interface Pictured {
  readonly example: Example
  readonly used: readonly string[]
}

/**
 * The row's own list goes to the places that its messages have for pictures: parts without a name,
 * or `<image>` in a text; where there is none, before the first words of the user.
 *
 * @throws InputError where places and pictures do not match, or an answer holds one
 */
export function withPictures(example: Example, row: JsonObject, where: string): Pictured {
  const { key, list } = rowPictures(row, where)
  const used = key === undefined ? [] : [key]
  const isBare = list.length === 0 && !holdsPictures(example)
  if (isBare) return { example, used }
  const chat = asMessages(example, where)
  const asked = chat.kind === "chat" ? chat.messages : (chat.prompt as readonly Message[])
  const said = answersOf(chat).flatMap((turns) => (typeof turns === "string" ? [] : turns))
  const placed = placedIn(asked, list, where)
  for (const { content, pictures } of [...placed, ...said]) {
    if (pictures !== undefined && content.split(PICTURE).length - 1 !== pictures.length)
      throw new InputError(
        `${where}: expected no U+FFFC in a text beside pictures: it is their place`,
      )
  }
  const isSpoken =
    placed.some(({ role, pictures }) => role === "assistant" && pictures !== undefined) ||
    said.some(({ pictures }) => pictures !== undefined)
  if (isSpoken) {
    const shared = chat.kind === "preference" ? ", which both sides share" : ""
    throw new InputError(
      `${where}: expected pictures in what is asked${shared}, got one in an answer`,
    )
  }
  return {
    example: chat.kind === "chat" ? { ...chat, messages: placed } : { ...chat, prompt: placed },
    used,
  }
}

const picturesIn = ({ pictures = [] }: Message): readonly PictureSource[] => pictures

const holdsPictures = (example: Example): boolean =>
  messagesOf(example).some((message) => picturesIn(message).length > 0)

type Chatted = Exclude<Example, { readonly kind: "text" }>

/** A question and its answer as turns: pictures stand in turns alone. */
function asMessages(example: Example, where: string): Chatted {
  if (example.kind === "chat") return example
  if (example.kind !== "text" && typeof example.prompt !== "string") return example
  const isQuestion =
    example.kind !== "text" &&
    example.question === true &&
    answersOf(example).every((said) => typeof said === "string")
  if (!isQuestion) {
    throw new InputError(
      `${where}: expected messages, or a question and its answer, around a picture, got plain text`,
    )
  }
  const { prompt, question: _question, system, ...rest } = example
  const told = system === undefined ? [] : [{ role: "system", content: system }]
  const asked = [...told, { role: "user", content: prompt as string }]
  const turn = (said: Turns): Message[] => [{ role: "assistant", content: said as string }]
  if (rest.kind === "preference") {
    return { ...rest, prompt: asked, chosen: turn(rest.chosen), rejected: turn(rest.rejected) }
  }
  const { sampled: _sampled, ...own } = rest
  return { ...own, prompt: asked, completion: turn(own.completion) }
}

function placedIn(
  messages: readonly Message[],
  list: readonly PictureSource[],
  where: string,
): Message[] {
  const open = messages.flatMap(picturesIn).filter(({ kind }) => kind === "next").length
  if (open > 0) return filled(messages, list, open, where)
  if (list.length === 0) return [...messages]
  if (messages.some((message) => picturesIn(message).length > 0)) {
    throw new InputError(
      `${where}: the messages name their pictures, and the row has ${list.length} besides`,
    )
  }
  const isAsked = ({ role }: Message) => role !== "assistant"
  const marks = messages.filter(isAsked).flatMap(({ content }) => content.split(MARK).slice(1))
  if (marks.length > 0) {
    const opened = messages.map((message) => {
      const places = isAsked(message) ? message.content.split(MARK).length - 1 : 0
      if (places === 0) return message
      const pictures = Array.from({ length: places }, (): PictureSource => ({ kind: "next" }))
      return { ...message, content: message.content.replaceAll(MARK, PICTURE), pictures }
    })
    return filled(opened, list, marks.length, where)
  }
  const first = messages.findIndex(({ role }) => role === "user")
  if (first < 0) throw new InputError(`${where}: expected a user's message for the row's pictures`)
  return messages.map((message, i) =>
    i === first
      ? { ...message, content: PICTURE.repeat(list.length) + message.content, pictures: list }
      : message,
  )
}

function filled(
  messages: readonly Message[],
  list: readonly PictureSource[],
  open: number,
  where: string,
): Message[] {
  if (open !== list.length) {
    throw new InputError(
      `${where}: expected as many pictures as places for them, got ${list.length} pictures and ${open} places`,
    )
  }
  const rest = [...list]
  return messages.map((message) => {
    const pictures = picturesIn(message)
    if (pictures.length === 0) return message
    return {
      ...message,
      pictures: pictures.map((one) => (one.kind === "next" ? rest.shift()! : one)),
    }
  })
}

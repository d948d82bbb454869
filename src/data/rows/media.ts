/** Pictures, videos and sound in a row: what is trained as text must not have any. */
import { InputError } from "../../errors.ts"
import { parseExactJson } from "../../formats/exact-json.ts"
import { isObject, type JsonObject } from "../../formats/json.ts"
import type { Columns } from "./columns.ts"
import { isPicturePart, PICTURE_KEYS } from "./pictures.ts"
import { CHAT_KEYS, QUESTION_KEYS } from "./shapes.ts"

/** Keys under which rows, and messages in them, carry them. */
const MEDIA_KEYS = [
  ...[...PICTURE_KEYS, "pictures", "image_url", "image_urls", "pixel_values"],
  ...["videos", "video", "video_path", "video_url", "audios", "audio", "audio_path", "audio_url"],
]

/** Where a row may have messages, and a message its parts. */
const LIST_KEYS = [
  ...[...CHAT_KEYS, ...QUESTION_KEYS, "prompt", "completion", "chosen", "rejected"],
  ...["answer", "response", "solution", "output", "content", "value", "text"],
]

/**
 * A row with a picture is another question than its text.
 *
 * @param pictures the model reads them: those that messages and the row's own list name are not
 * refused
 * @throws InputError naming the key; `columns` may say that the row's own list is not looked at
 */
export function refuseMedia(
  row: JsonObject,
  { columns, pictures, where }: { columns: Columns; pictures: boolean; where: string },
): void {
  const isPassedOver = columns.images === null
  const isRead = (key: string) => pictures && PICTURE_KEYS.includes(key)
  const own = Object.keys(row).find((key) => isMedia(key, row[key]) && !isRead(key))
  const found = (isPassedOver ? undefined : own) ?? mediaInside(row, pictures && !isPassedOver)
  if (found === undefined) return
  throw new InputError(
    `${where}: "${found}" holds ${
      pictures
        ? "a picture where none is read, a video or sound; pictures stand in a message's parts or in the row's images"
        : "a picture, a video or sound, and this is read for its text; pictures are trained with engine: torch and a model of vision and language"
    }. Leave such rows out, or train the text alone (data.columns: { images: null })`,
  )
}

const isMedia = (key: string, value: unknown): boolean =>
  (MEDIA_KEYS.includes(key) && says(value)) || isFile(value)

/** The key of the first in the row's messages and their parts, as `messages[2].images`. */
function mediaInside(row: JsonObject, pictures: boolean): string | undefined {
  for (const key of LIST_KEYS) {
    const held = listed(row[key])
    const list: readonly unknown[] = Array.isArray(held) ? held : [held]
    for (const [i, turn] of list.entries()) {
      if (!isObject(turn)) continue
      const at = `${key}${Array.isArray(held) ? `[${i}]` : ""}`
      const isPicture = isPicturePart(turn.type)
      if (isPicture && pictures) continue
      const own = Object.keys(turn).find((name) => isMedia(name, turn[name]))
      const inside = own ?? (isPicture ? "type" : mediaInside(turn, pictures))
      if (inside !== undefined) return `${at}.${inside}`
    }
  }
  return undefined
}

/** A list that is kept as JSON text too; other texts are texts. */
function listed(value: unknown): unknown {
  if (typeof value !== "string" || !/^\s*[[{]/.test(value)) return value
  try {
    return parseExactJson(value)
  } catch {
    return value
  }
}

/** How a data set keeps a file in a column: its bytes, its name, or both. */
function isFile(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(isFile)
  return isObject(value) && "bytes" in value && "path" in value && says(value.bytes ?? value.path)
}

export function says(value: unknown): boolean {
  if (value === null || value === undefined || value === "") return false
  if (Array.isArray(value)) return value.some(says)
  return !isObject(value) || Object.values(value).some(says)
}

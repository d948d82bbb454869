/** Pictures, videos and sound in a row: what is trained as text must not have any. */
import { InputError } from "../../errors.ts"
import { parseExactJson } from "../../formats/exact-json.ts"
import { isObject, type JsonObject } from "../../formats/json.ts"
import type { Columns } from "./columns.ts"
import { CHAT_KEYS, QUESTION_KEYS } from "./shapes.ts"

/** Keys under which rows, and messages in them, carry them. */
const MEDIA_KEYS = [
  ...["images", "image", "image_path", "image_paths", "image_url", "image_urls", "pixel_values"],
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
 * @throws InputError naming the key, unless `columns` says that pictures are not looked at
 */
export function refuseMedia(row: JsonObject, columns: Columns, where: string): void {
  if (columns.images === null) return
  const found = mediaKey(row)
  if (found === undefined) return
  throw new InputError(
    `${where}: "${found}" holds a picture, a video or sound, and dftune trains text; leave such rows out (data.on_bad_row: skip), or train their text alone (data.columns: { images: null })`,
  )
}

/** The key of the first one, as `messages[2].images`. */
function mediaKey(row: JsonObject): string | undefined {
  const own = Object.entries(row).find(
    ([key, value]) => (MEDIA_KEYS.includes(key) && says(value)) || isFile(value),
  )
  if (own !== undefined) return own[0]
  for (const key of LIST_KEYS) {
    const held = listed(row[key])
    const list: readonly unknown[] = Array.isArray(held) ? held : [held]
    for (const [i, turn] of list.entries()) {
      const inside = isObject(turn) ? mediaKey(turn) : undefined
      if (inside !== undefined) return `${key}${Array.isArray(held) ? `[${i}]` : ""}.${inside}`
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

import { InputError } from "../errors.ts"
import type { ChatMessage, RenderOptions } from "./chat-message.ts"
import type { ChatTemplate } from "./chat-template.ts"
import { callsTools, standInFor } from "./span-search.ts"

/**
 * A chat up to where its last message ends, so that a model goes on in it: what Transformers'
 * `apply_chat_template(continue_final_message=True)` makes. A mark behind the content tells where
 * the template ends it; a space behind the mark, whether the template cuts spaces off.
 *
 * @throws InputError where the template does not write the content as it stands, in one place
 */
export function unfinishedText(
  messages: readonly ChatMessage[],
  template: ChatTemplate,
  options: Omit<RenderOptions, "addGenerationPrompt"> = {},
): string {
  const last = messages.at(-1)
  if (last === undefined || callsTools(last)) {
    throw new InputError(
      `there is no text to go on in: ${last ? "the last message calls tools" : "no message is there"}`,
    )
  }
  const mark = standInFor(JSON.stringify(messages))
  const marked = { ...last, content: `${last.content}${mark} ` }
  const text = template.render([...messages.slice(0, -1), marked], options)
  const [before, behind, ...more] = text.split(mark)
  const said = last.content.trim()
  if (behind === undefined || more.length > 0 || !before!.trimEnd().endsWith(said)) {
    const what = more.length > 0 ? "writes more than once" : "does not write as it stands"
    throw new InputError(
      `${template.path}: the last message cannot be gone on in: the chat template ${what} what the message says`,
    )
  }
  return behind.startsWith(" ") ? before! : before!.trimEnd()
}

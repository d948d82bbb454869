import { askedIds } from "../data/render.ts"
import { InputError } from "../errors.ts"
import type { ChatTemplate, Tokenizer } from "../text/index.ts"
import type { Prompt } from "./sample-source.ts"

/** How text becomes a prompt's ids. */
export interface PromptEncoding {
  readonly tokenizer: Tokenizer
  /** null: the model has none, and messages are refused. */
  readonly template: ChatTemplate | null
}

/**
 * A string is used as it is, after BOS where the tokenizer adds one; messages go through the chat
 * template, which writes its own special tokens.
 *
 * @throws InputError for messages without a template, and for nothing to continue
 */
export function promptIds(prompt: Prompt, { tokenizer, template }: PromptEncoding): number[] {
  const ids = idsOf(prompt, { tokenizer, template })
  if (ids.length === 0) {
    throw new InputError("the prompt is empty, and this tokenizer has no BOS token to begin with")
  }
  return ids
}

function idsOf(prompt: Prompt, { tokenizer, template }: PromptEncoding): number[] {
  if (typeof prompt === "string") return askedIds(prompt, { tokenizer, template })
  if ("tokenIds" in prompt) return [...prompt.tokenIds]
  if (template === null) {
    throw new InputError(
      "the prompt is a list of messages, but the model has no chat template " +
        "(tokenizer_config.json or chat_template.jinja); give the prompt as a string",
    )
  }
  const conversation = "messages" in prompt ? prompt : { messages: prompt }
  return askedIds(conversation, { tokenizer, template })
}

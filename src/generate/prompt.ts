import { InputError } from "../errors.ts"
import type { Tokenizer } from "../text/index.ts"
import type { PromptMessage, SampleRequest } from "./sample-source.ts"

/** Renders a conversation up to where the assistant speaks. */
export interface PromptTemplate {
  render(
    messages: readonly PromptMessage[],
    options: { readonly addGenerationPrompt: boolean },
  ): string
}

/** How text becomes a prompt's ids. */
export interface PromptEncoding {
  readonly tokenizer: Tokenizer
  /** null: the model has none, and messages are refused. */
  readonly template: PromptTemplate | null
}

/**
 * A string is used as it is, after BOS where the tokenizer adds one; messages go through the chat
 * template, which writes its own special tokens.
 *
 * @throws InputError for messages without a template, and for nothing to continue
 */
export function promptIds(
  prompt: SampleRequest["prompt"],
  { tokenizer, template }: PromptEncoding,
): number[] {
  const ids: number[] = []
  if (typeof prompt === "string") {
    if (tokenizer.addsBos) ids.push(tokenizer.bosTokenId!)
    ids.push(...tokenizer.encode(prompt))
  } else if ("tokenIds" in prompt) {
    ids.push(...prompt.tokenIds)
  } else {
    if (template === null) {
      throw new InputError(
        "the prompt is a list of messages, but the model has no chat template " +
          "(tokenizer_config.json or chat_template.jinja); give the prompt as a string",
      )
    }
    ids.push(...tokenizer.encode(template.render(prompt, { addGenerationPrompt: true })))
  }
  if (ids.length === 0) {
    throw new InputError("the prompt is empty, and this tokenizer has no BOS token to begin with")
  }
  return ids
}

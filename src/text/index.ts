export {
  type AssistantSpan,
  type ChatMessage,
  type ChatTemplate,
  chatTemplate,
  type RenderOptions,
} from "./chat-template.ts"
export { type GgufTokenizer, type GgufTokenizerOptions, ggufTokenizer } from "./gguf-tokenizer.ts"
export { loadChatTemplate } from "./load-chat-template.ts"
export { type DecodeStream, loadTokenizer, type TextEncoding, type Tokenizer } from "./tokenizer.ts"

export type { AssistantSpan, ChatMessage, RenderOptions } from "./chat-message.ts"
export { type ChatTemplate, chatTemplate } from "./chat-template.ts"
export { type GgufTokenizer, type GgufTokenizerOptions, ggufTokenizer } from "./gguf-tokenizer.ts"
export { chatTemplateIn, type TemplateText } from "./model-chat-template.ts"
export { loadChatTemplate, loadTokenizer, stopTokenIds } from "./model-folder.ts"
export { stopTokensIn } from "./stop-tokens.ts"
export {
  type DecodeStream,
  type TextEncoding,
  type Tokenizer,
  tokenizerIn,
} from "./tokenizer.ts"

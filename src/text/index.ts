export { type DecodeStream, loadTokenizer, type TextEncoding, type Tokenizer } from "./tokenizer.ts"

export { flushFolder, replaceFile, writeFileAtomic } from "./atomic.ts"
export { fileHash } from "./file-hash.ts"
export { bf16ToFloat32, f16ToFloat32, float32ToBf16, float32ToF16 } from "./float.ts"
export type { GgufTensorEntry } from "./gguf-header.ts"
export type { ElementKind, GgufMetadata, GgufScalar, GgufValue } from "./gguf-metadata.ts"
export { type GgufReader, openGguf } from "./gguf-read.ts"
export { GGUF_ENCODINGS, type GgufEncoding, type GgufType, ggufBytes } from "./gguf-types.ts"
export { type GgufTensor, writeGguf } from "./gguf-write.ts"
export {
  describeValue,
  isObject,
  type JsonObject,
  parseJson,
  readBounded,
  readJsonFile,
  readJsonObject,
  readTextFile,
} from "./json.ts"
export {
  type Dtype,
  openSafetensors,
  type TensorEntry,
  type TensorReader,
  type TensorToWrite,
  writeSafetensors,
} from "./safetensors.ts"
export { openCheckpoint, writeCheckpoint } from "./tensor-folder.ts"

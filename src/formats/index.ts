export { flushFolder, replaceFile, writeFileAtomic } from "./atomic.ts"
export { diskFolder } from "./disk-folder.ts"
export { fileHash } from "./file-hash.ts"
export { bf16ToFloat32, f16ToFloat32, float32ToBf16, float32ToF16 } from "./float.ts"
export {
  type ByteSource,
  type Folder,
  memoryFolder,
  objectIn,
  requiredObjectIn,
  textIn,
} from "./folder.ts"
export { GGUF_BLOCKS } from "./gguf-blocks.ts"
export type { GgufTensorEntry } from "./gguf-header.ts"
export type { ElementKind, GgufMetadata, GgufScalar, GgufValue } from "./gguf-metadata.ts"
export { type GgufReader, openGguf, openGgufIn } from "./gguf-read.ts"
export {
  GGUF_ENCODINGS,
  type GgufEncoding,
  type GgufType,
  ggufBytes,
  ggufValues,
  type WrittenGgufType,
} from "./gguf-types.ts"
export { type GgufTensor, writeGguf } from "./gguf-write.ts"
export { describeValue, isObject, type JsonObject, parseJson } from "./json.ts"
export { readBounded, readJsonFile, readJsonObject, readTextFile } from "./json-files.ts"
export type { Dtype, TensorEntry, TensorReader, TensorToWrite } from "./safetensors.ts"
export { readSafetensors, safetensorsPieces } from "./safetensors.ts"
export { openSafetensors, writeSafetensors } from "./safetensors-files.ts"
export { openCheckpoint, writeCheckpoint } from "./tensor-folder.ts"
export { openCheckpointIn } from "./tensor-folder-reader.ts"

export * from "./adapter-files.ts"
export * from "./gguf.ts"
export * from "./load.ts"
export * from "./save.ts"

export * from "../config/index.ts"
export * from "../errors.ts"
export * from "./events.ts"
export * from "./run-folder.ts"

export { type LoadConfigOptions, loadConfig } from "./load-config.ts"
export { defineConfig, type Locate, parseConfig } from "./parse-config.ts"
export { type Config, configJsonSchema, type DataConfig } from "./resolve-config.ts"
export * from "./schema.ts"

export * from "./adamw.ts"
export * from "./clip.ts"
export * from "./schedule.ts"

export {
  adamw8bit,
  BLOCK,
  type BlockKernel,
  type BlockMoments,
  blocksOf,
  LEAST_ELEMENTS,
  updateBlocks,
  zeroMoments,
} from "./adamw-8bit.ts"
export * from "./adamw-graph.ts"
export * from "./clip.ts"
export * from "./decays.ts"
export * from "./elementwise.ts"
export * from "./lion.ts"
export * from "./schedule.ts"
export * from "./squared-norm.ts"

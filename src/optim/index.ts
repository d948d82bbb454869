export * from "./adafactor.ts"
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
export { createAverage, type WeightedMean } from "./average.ts"
export * from "./clip.ts"
export * from "./decays.ts"
export * from "./elementwise.ts"
export * from "./lion.ts"
export { createMuon, isMuonMatrix, type MuonSettings, muonRate } from "./muon.ts"
export * from "./schedule.ts"
export * from "./squared-norm.ts"
export * from "./whole-update.ts"

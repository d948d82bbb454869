export { clearTensorboard } from "./tensorboard.ts"
export type { TrackedEvent, Tracker } from "./tracker.ts"
export { trackersOf } from "./trackers.ts"

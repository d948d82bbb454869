import type { TrainsOn } from "../objectives/index.ts"
import type { Purpose } from "./rows/index.ts"

/** How rows are prepared for an objective, by what it trains on. */
export const PURPOSE_OF: { readonly [Name in Exclude<TrainsOn, "rollouts">]: Purpose } = {
  targets: "supervised",
  pairs: "preference",
  labels: "labels",
  rewards: "rewards",
  scores: "scores",
}

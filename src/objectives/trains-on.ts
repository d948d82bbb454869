/**
 * The rows that an objective trains on: targets alone; pairs of a chosen and a rejected answer;
 * answers with a label (good or bad) or with a reward; the model's own samples; or pairs of whole
 * texts, of each of which a reward model says one number.
 */
export type TrainsOn = "targets" | "pairs" | "labels" | "rewards" | "rollouts" | "scores"

/** Whether its rows are pairs of a better and a worse text. */
export const isOfPairs = ({ trainsOn }: { readonly trainsOn: TrainsOn }): boolean =>
  trainsOn === "pairs" || trainsOn === "scores"

/**
 * The rows that an objective trains on: targets alone; pairs of a chosen and a rejected answer;
 * answers with a label (good or bad) or with a reward; or the model's own samples.
 */
export type TrainsOn = "targets" | "pairs" | "labels" | "rewards" | "rollouts"

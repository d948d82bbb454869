export { REWARDS } from "./declared.ts"
export type { AskPolicy, RewardSample, Score } from "./reward.ts"
export { rowProblem } from "./scorers.ts"
export { openScoring, type Scored, type Scoring } from "./scoring.ts"
export {
  type RewardProblem,
  type RewardSettings,
  rewardLabels,
  rewardProblems,
} from "./settings.ts"

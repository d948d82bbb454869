/** When of a run a model is asked: before it, after it, or at a step that was kept. */
export type Moment = "base" | "result" | number

export const momentName = (moment: Moment): string =>
  typeof moment === "number" ? `step ${moment}` : moment

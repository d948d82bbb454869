/** How strictly answers are compared; what each means is in docs/grading.md. */
export const MODES = ["strict", "lenient", "paper"] as const
export type Mode = (typeof MODES)[number]

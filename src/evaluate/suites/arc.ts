import { choiceSuite } from "./choices.ts"

/** School science, the 1,172 questions that word statistics get wrong (Clark et al., 2018). */
export const arcChallenge = choiceSuite({
  name: "arc_challenge",
  title: "ARC, challenge",
  files: ["arc_challenge/test.jsonl", "arc_challenge.jsonl"],
  hub: { id: "allenai/ai2_arc", name: "ARC-Challenge", split: "test" },
})

/** The 2,376 others. */
export const arcEasy = choiceSuite({
  name: "arc_easy",
  title: "ARC, easy",
  files: ["arc_easy/test.jsonl", "arc_easy.jsonl"],
  hub: { id: "allenai/ai2_arc", name: "ARC-Easy", split: "test" },
})

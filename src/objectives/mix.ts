import { defineObjective, MODIFIERS, number } from "./definition.ts"

/**
 * SFT and DFT mixed by a constant (github.com/Lauorie/DFT, `dft_alpha`).
 *
 *     loss = sg(a p + 1 - a) c
 *
 * a = 0 is SFT, a = 1 DFT. Gradient law: (1 - a) times that of c plus a times that of 1 - p.
 */
export const mix = defineObjective({
  name: "mix",
  formula: "sg(a p + 1 - a) c",
  parameters: { a: number(0.5, [0, 1], "share of DFT") },
  form: ({ a }, { p }) => ({ weight: p.times(a).plus(1 - a) }),
  modifiers: MODIFIERS,
})

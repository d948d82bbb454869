import { readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { defineConfig, parseConfig } from "../../src/config/index.ts"
import {
  constant,
  evaluate,
  FAMILY,
  objectiveFromConfig,
  objectiveToConfig,
  tokenObjective,
  where,
} from "../../src/objectives/index.ts"

/** DFT that leaves digits of low entropy to SFT: something nobody ships. */
const mine = tokenObjective("mine", ({ p, nll, entropy, progress }) =>
  where(entropy.less(0.1), constant(1), p.max(progress.times(0.2)))
    .detach()
    .times(nll),
)

test("an objective of one's own goes from TypeScript through the config into a run", () => {
  const config = parseConfig(
    JSON.parse(
      JSON.stringify(
        defineConfig({
          model: "some/model",
          data: { train: ["train.jsonl"] },
          objective: objectiveToConfig(mine),
        }),
      ),
    ),
  )
  const objective = objectiveFromConfig(config.objective)
  expect(objective.name).toBe("mine")
  const columns = {
    logp: Float64Array.of(-1, -3, -0.2),
    entropy: Float64Array.of(0.5, 2, 0.01),
    progress: 1,
  }
  const { coefficients } = evaluate(objective.expression, columns, [0, 0, 0])
  expect([...coefficients.logp]).toEqual([-Math.exp(-1), -0.2, -1])
})

test("docs/objectives.md states every objective, formula and parameter", () => {
  const text = readFileSync(new URL("../../docs/objectives.md", import.meta.url), "utf8")
  for (const { name, formula, parameters } of Object.values(FAMILY)) {
    const row = text.split("\n").find((line) => line.startsWith(`| \`${name}\` |`))
    expect(row, name).toContain(formula.replaceAll("|", "\\|"))
    for (const parameter of Object.keys(parameters)) expect(row).toContain(`\`${parameter}\``)
  }
})

/**
 * Writes the inputs and operators of expressions into docs/objectives.md; the types hold it to the
 * code.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import type { Expression } from "../src/objectives/expression.ts"
import { GRADIENT_INPUTS, RUN_INPUTS, TOKEN_INPUTS } from "../src/objectives/expression.ts"

type Operator = {
  [Name in keyof Expression]: Expression[Name] extends (...given: never[]) => Expression
    ? Name
    : never
}[keyof Expression]

/** How an operator is called, and what it means; x is the expression that it is called on. */
const OPERATORS: { readonly [Name in Operator]: readonly [call: string, meaning: string] } = {
  plus: ["x.plus(y)", "x + y"],
  minus: ["x.minus(y)", "x - y"],
  times: ["x.times(y)", "x y; 0 times infinity is 0"],
  over: ["x.over(y)", "x / y"],
  power: ["x.power(y)", "x to the power of y"],
  negate: ["x.negate()", "-x"],
  exp: ["x.exp()", "e to the power of x"],
  log: ["x.log()", "natural logarithm"],
  sqrt: ["x.sqrt()", "square root"],
  sigmoid: ["x.sigmoid()", "1 / (1 + e^-x)"],
  min: ["x.min(y)", "the smaller"],
  max: ["x.max(y)", "the larger"],
  clamp: ["x.clamp(low, high)", "x, but at least low and at most high"],
  greater: ["x.greater(y)", "1 where x > y, else 0; no gradient, as all comparisons"],
  greaterOrEqual: ["x.greaterOrEqual(y)", "1 where x >= y, else 0"],
  less: ["x.less(y)", "1 where x < y, else 0"],
  lessOrEqual: ["x.lessOrEqual(y)", "1 where x <= y, else 0"],
  equals: ["x.equals(y)", "1 where x = y, else 0"],
  detach: ["x.detach()", "x, without a gradient (stop-gradient)"],
  sequenceMean: ["x.sequenceMean()", "mean over the supervised tokens of the token's sequence"],
  sequenceSum: ["x.sequenceSum()", "sum over them"],
  pairSum: ["x.pairSum()", "sum over those of both sequences of a pair"],
  batchSum: ["x.batchSum()", "sum over all of the optimizer step"],
  batchMedian: ["x.batchMedian()", "median over the step's sequences, of one number a sequence"],
  batchRank: ["x.batchRank()", "how many tokens of the step have a larger value"],
}

const BEGIN = "<!-- operators: npx tsx scripts/objective-operators.ts -->"
const END = "<!-- end of operators -->"
const PATH = fileURLToPath(new URL("../docs/objectives.md", import.meta.url))

const code = (names: readonly string[]) => names.map((name) => `\`${name}\``).join(", ")

export function operatorsText(): string {
  const rows = Object.values(OPERATORS).map(([call, meaning]) => `| \`${call}\` | ${meaning} |`)
  return [
    BEGIN,
    `Inputs, one number a supervised token: ${code([...TOKEN_INPUTS, "p", "nll"])} (\`p\` is \`logp.exp()\`, \`nll\` is \`logp.negate()\`); one a step: ${code(RUN_INPUTS)}. Gradients flow through ${code(GRADIENT_INPUTS)} alone.`,
    "",
    "| operator | is |",
    "| --- | --- |",
    ...rows,
    "| `where(c, x, y)` | x where c is not 0, else y |",
    "| `constant(1.5)` | a number; a plain number stands for one wherever y is |",
    "",
    "`sequenceMean` and those below it reduce what is detached: write `x.detach().sequenceMean()`.",
    END,
  ].join("\n")
}

/** The page with the list as the code has it. */
export function objectivesPage(page: string): string {
  const [before, rest] = page.split(BEGIN)
  const after = rest?.split(END)[1]
  if (before === undefined || after === undefined) throw new Error(`${PATH}: no place for the list`)
  return before + operatorsText() + after
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(PATH, objectivesPage(readFileSync(PATH, "utf8")))
}

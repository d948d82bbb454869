/** What may stand under `objective`: which keys fit which name, `objectiveProblems` says. */
import { z } from "zod"
import { fraction, positive } from "./number-fields.ts"

const isScalar = (value: unknown) =>
  typeof value === "string" || typeof value === "boolean" || Number.isFinite(value)

export const expression = z
  .looseObject({
    version: z.union([z.literal(1), z.literal(2)]),
    nodes: z.array(z.record(z.string(), z.unknown())).min(1).max(1000),
    output: z.number().int().min(0),
    value: z.number().int().min(0).optional(),
    measures: z.record(z.string(), z.number().int().min(0)).optional(),
  })
  .describe("A user's own objective as an expression (docs/architecture.md, seam 2).")

/**
 * Of what kind each key is; what may stand beside a name, and its bounds, `objectiveProblems` says.
 */
export const objectiveFields = z
  .object({
    name: z.string().min(1),
    normalization: z.string().optional(),
    weight_floor: fraction.optional(),
    weight_ceiling: positive.optional(),
    ramp: z.strictObject({ start: fraction.default(0.2), end: fraction.default(0.3) }).optional(),
    keep_special: z.boolean().default(false),
    expression: expression.optional(),
  })
  // `unknown`, so that the type of the keys above does not have to fit it too
  .catchall(z.unknown().refine(isScalar, "a number, true, false or text"))
export const objective = z.union([z.string().min(1), objectiveFields])

/** `name`, the modifiers, and the objective's own parameters as further keys. */
export type ObjectiveConfig = z.output<typeof objectiveFields>

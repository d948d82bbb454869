/** What a line of a study's events must be before anything is counted from it. */
import { z } from "zod"
import { isObject } from "../formats/json.ts"

/** Far above what a diverged model measures; sums and squares of such numbers are still numbers. */
const LARGEST = 1e60
const amount = z.number().nonnegative().max(LARGEST)
const nats = z.number().min(-LARGEST).max(LARGEST)
const decoding = z.union([z.literal("greedy"), z.number().positive().max(100)])
const contrast = z.object({
  name: z.string(),
  a: z.string(),
  b: z.string(),
  on: z.string(),
  at: decoding.nullable(),
  bAt: decoding.nullable(),
})

const cell = {
  time: z.string(),
  cell: z.string(),
  arm: z.string(),
  stage: z.enum(["base", "choose", "final"]),
  seed: z.int().nonnegative().nullable(),
}

const hasSome = (named: object): boolean => Object.keys(named).length > 0

/** Of each type the fields that are read; others may be there. */
const FIELDS = {
  "study.contrasts": z.object({
    time: z.string(),
    study: z.string(),
    about: z.string(),
    limits: z.string(),
    contrasts: z.array(contrast),
    after_results: z.boolean(),
  }),
  "cell.start": z.object({
    ...cell,
    design: z.string(),
    config: z.string().optional(),
    settings: z.record(z.string(), z.unknown()),
    chosen: z.string().optional(),
  }),
  score: z.object({
    ...cell,
    evaluation: z.string(),
    decoding,
    outcomes: z.record(z.string(), z.string().regex(/^[01]+$/)).refine(hasSome),
    tokens: amount.nullable(),
    ended: z.number().min(0).max(1),
    asked: z.string().optional(),
  }),
  loss: z.object({
    ...cell,
    name: z.string(),
    rows: z.record(z.string(), z.tuple([nats, amount.positive()])).refine(hasSome),
    asked: z.string().optional(),
  }),
  "cell.end": z.object({
    ...cell,
    reason: z.enum(["done", "failed"]),
    seconds: amount,
    candidate: z.string().nullable(),
    message: z.string().optional(),
  }),
}

const TYPES = Object.keys(FIELDS) as readonly (keyof typeof FIELDS)[]

export function isStudyEvent(value: unknown): boolean {
  const type = TYPES.find((one) => isObject(value) && value.type === one)
  return type !== undefined && FIELDS[type].safeParse(value).success
}

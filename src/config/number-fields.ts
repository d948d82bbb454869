/** Kinds of numbers that settings have. */
import { z } from "zod"

export const count = z
  .number()
  .int()
  .min(1)
  .max(2 ** 40)
export const fraction = z.number().min(0).max(1)
export const seed = z
  .number()
  .int()
  .min(0)
  .max(2 ** 32 - 1)
export const positive = z.number().positive()

/** What may stand under `teacher`. */
import { z } from "zod"

/** What stands for the row's question and its demonstration in `teacher.prompt`. */
export const TEACHER_PLACES = ["{question}", "{demonstration}"] as const

const PROMPT = `{question}

Here is one good answer to it:

{demonstration}

Now give an answer of your own.`

export const teacherFields = z
  .strictObject({
    model: z
      .string()
      .min(1)
      .nullable()
      .describe(
        "Of distill: a Hugging Face folder, a GGUF file or a hub id, with the model's own tokenizer.",
      )
      .default(null),
    weights: z
      .enum(["start", "live", "average"])
      .describe(
        "Of self-distill: whether the teacher is the model as the run began, as it is now, or the moving average of what it has been.",
      )
      .default("start"),
    rate: z
      .number()
      .gt(0)
      .max(1)
      .nullable()
      .describe(
        "Of weights: average: how far it moves towards the model after each rollout; left out: 0.05.",
      )
      .default(null),
    prompt: z
      .string()
      .min(1)
      .describe(
        "Of self-distill: what the teacher is asked. {question} and {demonstration} stand for the row's.",
      )
      .default(PROMPT),
  })
  .describe("Who says how likely the samples' tokens should be.")

export const teacherField = z
  .union([z.string().min(1).describe("A model alone."), teacherFields])
  .nullable()
  .describe(
    "Who says how likely the samples' tokens should be: another model (distill), or how the model itself is asked (self-distill).",
  )
  .default(null)

export type TeacherConfig = z.output<typeof teacherFields>

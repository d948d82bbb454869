/** The demo's data as files. */
import { mkdir } from "node:fs/promises"
import { join } from "node:path"
import { writeFileAtomic } from "../formats/index.ts"
import { type DataSizes, newFacts, noisyArithmetic, type QuestionSet, type Task } from "./tasks.ts"

export { NOISE, type Question, type QuestionSet } from "./tasks.ts"

/** One of the demo's two experiments, its rows in files. */
export interface TaskData extends Pick<Task, "name" | "about"> {
  readonly train: string
  readonly eval: string
  readonly rows: number
  readonly sets: readonly QuestionSet[]
}

const FILES = {
  noisy: { train: "noisy-train.jsonl", heldOut: "clean-held-out.jsonl" },
  facts: { train: "facts-train.jsonl", heldOut: "facts-known.jsonl" },
} as const

/** Writes the training and held-out rows below `folder` and returns what to ask afterwards. */
export async function writeDemoData(folder: string, sizes: DataSizes): Promise<TaskData[]> {
  await mkdir(folder, { recursive: true })
  const write = async (name: string, rows: readonly string[]): Promise<string> => {
    const path = join(folder, name)
    await writeFileAtomic(path, `${rows.join("\n")}\n`)
    return path
  }
  const written = async ({ name, about, train, heldOut, sets }: Task): Promise<TaskData> => ({
    name,
    about,
    train: await write(FILES[name].train, train),
    eval: await write(FILES[name].heldOut, heldOut),
    rows: train.length,
    sets,
  })
  return [await written(noisyArithmetic(sizes)), await written(newFacts(sizes))]
}

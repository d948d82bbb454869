/** What people say of a run on the page: tags, and that it is out of the way. */
import { join } from "node:path"
import { z } from "zod"
import { makeFolder, replaceFileNow } from "../formats/atomic.ts"
import { jsonOfFile } from "../formats/plain-file.ts"
import { ownPlace } from "../host/own-place.ts"
import { PAGE_FILES } from "../run/run-files.ts"

export const runMarks = z.strictObject({
  tags: z.array(z.string().trim().min(1).max(40)).max(20),
  archived: z.boolean(),
})
export type RunMarks = z.infer<typeof runMarks>

const pathOf = (run: string) => join(run, PAGE_FILES.folder, PAGE_FILES.marks)

export function readMarks(run: string): RunMarks {
  const read = runMarks.safeParse(jsonOfFile(pathOf(run)))
  return read.success ? read.data : { tags: [], archived: false }
}

export function writeMarks(run: string, marks: RunMarks): void {
  makeFolder(ownPlace(run, PAGE_FILES.folder))
  replaceFileNow(pathOf(run), `${JSON.stringify(marks)}\n`)
}

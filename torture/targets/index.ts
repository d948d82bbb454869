/** What reads strangers' files, and a right file of each kind. Runs in a process of its own. */
import { MODEL_FILES } from "./model-files.ts"
import { ROW_FILES } from "./row-files.ts"
import { RUN_FILES } from "./run-files.ts"
import type { Targets } from "./target.ts"
import { TEXT_FILES } from "./text-files.ts"

export const TARGETS: Targets = { ...MODEL_FILES, ...TEXT_FILES, ...ROW_FILES, ...RUN_FILES }

import { existsSync, readdirSync, renameSync, rmdirSync, rmSync, statSync } from "node:fs"
import { join } from "node:path"
import { ownPlace } from "../host/own-place.ts"
import { clearKeptIds, clearTensorboard } from "../trackers/index.ts"
import { PAGE_FILES, RUN_FILES, SUPERSEDED_FILES, TORCH_FILES } from "./run-files.ts"
import { ownCheckpoints, runPlace } from "./run-place.ts"

/** What a run writes into `model/`: weights, configs, and the files beside them. */
const MODEL_FILE =
  /^((adapter_)?(config|model.*)\.(json|safetensors)|model\.safetensors\.index\.json|dftune\.json|tokenizer.*|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt|generation_config\.json|chat_template\.json|.*\.jinja)$/

/**
 * Where another hand put a file into `model/`, or made a file of that name, it is renamed to
 * `model.kept-1` and so on: a result takes the place of results only.
 */
export function keepForeignModel(path: string): void {
  const model = join(path, RUN_FILES.model)
  const there = statSync(model, { throwIfNoEntry: false })
  if (there === undefined) return
  if (there.isDirectory() && readdirSync(model).every((name) => MODEL_FILE.test(name))) return
  keepAside(model)
}

function keepAside(path: string): void {
  let n = 1
  while (existsSync(`${path}.kept-${n}`)) n++
  renameSync(path, `${path}.kept-${n}`)
}

/** What killed processes left half written of a run: `model.*.tmp`, `.step-*` and the like. */
const LEFT =
  /^((model|config\.json)\.[0-9a-f-]{36}\.tmp|\.(config\.json|events\.jsonl|samples\.jsonl|rollouts\.jsonl|report\.html|run\.sbatch)\.\d+(-[0-9a-f]{6})?\.[0-9a-f]{8}\.tmp)$/
const LEFT_OF_CHECKPOINTS = /^\.(step|writing)-/
/** Made before a lock is taken, by a process that may still be alive. */
const LEFT_OF_LOCK = /^run\.lock\.[0-9a-f-]{36}$/
const LOCK_MS = 60_000

/** Removes it; only the holder of the run's lock may. */
export function removeLeftovers(path: string): void {
  for (const name of readdirSync(path)) {
    const left = join(path, name)
    const age = Date.now() - (statSync(left, { throwIfNoEntry: false })?.mtimeMs ?? Date.now())
    if (LEFT.test(name) || (LEFT_OF_LOCK.test(name) && age > LOCK_MS)) {
      rmSync(left, { recursive: true, force: true })
    }
  }
  const checkpoints = join(path, RUN_FILES.checkpoints)
  if (!existsSync(checkpoints)) return
  for (const name of readdirSync(checkpoints)) {
    if (!LEFT_OF_CHECKPOINTS.test(name)) continue
    rmSync(join(checkpoints, name), { recursive: true, force: true })
  }
}

/**
 * Removes a run: the files that it wrote, and no other. The folder stays, and what somebody put
 * into its `model/` or `checkpoints/` is kept beside it.
 */
export function clearRun(path: string): void {
  if (runPlace(path) === "free") return
  keepForeignModel(path)
  for (const name of ownCheckpoints(path)) {
    rmSync(join(path, RUN_FILES.checkpoints, name), { recursive: true })
  }
  removeLeftovers(path)
  const checkpoints = join(path, RUN_FILES.checkpoints)
  if (existsSync(checkpoints)) {
    if (readdirSync(checkpoints).length === 0) rmdirSync(checkpoints)
    else keepAside(checkpoints)
  }
  const { model, events, samples, rollouts, forgetting, report, config } = RUN_FILES
  clearTensorboard(path)
  clearKeptIds(path)
  clearPage(ownPlace(path, PAGE_FILES.folder))
  // what says that this is a run goes last: a kill on the way leaves a run
  const told = [report, rollouts, forgetting, samples]
  const own = [model, ...Object.values(SUPERSEDED_FILES), ...TORCH_FILES, ...told]
  for (const name of [...own, events, config])
    rmSync(join(path, name), { recursive: true, force: true })
}

/** What the page kept of the run; tags are the folder's, and stay. */
function clearPage(folder: string): void {
  for (const name of [PAGE_FILES.summary, PAGE_FILES.details, PAGE_FILES.tokens])
    rmSync(join(folder, name), { recursive: true, force: true })
  if (existsSync(folder) && readdirSync(folder).length === 0) rmdirSync(folder)
}

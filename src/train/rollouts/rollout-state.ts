/** What a checkpoint holds of rollouts: how far they are, and what is left of one half used. */
import type { TensorToWrite } from "../../formats/index.ts"
import type { HostTensor } from "../../runtime/index.ts"
import { bytesOf, heldTensor } from "../tensor-to-write.ts"
import { ownTokens, type Rollout, type RolloutRow } from "./rollout.ts"

/** How far the rollouts of a run are. Numbers alone: a sample that is made again is the same. */
export interface RolloutProgress {
  /** Of the next rollout. */
  readonly number: number
  /** Prompts taken of the running order. */
  readonly cursor: number
  /** Rollouts in a row that taught nothing, up to the last. */
  readonly equal: number
  /** Rollouts in a row in which no sample ended. */
  readonly unended: number
  /** Whether any sample ever ended. */
  readonly everEnded: boolean
  /** Warnings that have been given. */
  readonly told: readonly string[]
  /** The number of the rollout before which samples were trained once more, last. */
  readonly replayed?: number
  /**
   * Whether tokens are weighed by how far the sampler is from training, where the first rollout
   * decides; undefined until it has.
   */
  readonly weighs?: boolean
  /** |ln p| apart of a server's first rollout, nats. */
  readonly firstGap?: number
}

export const ROLLOUTS_BEGIN: RolloutProgress = {
  number: 0,
  cursor: 0,
  equal: 0,
  unended: 0,
  everEnded: false,
  told: [],
}

const STATE = "rollout.state"
const IDS = "rollout.token_ids"
const LOGPS = {
  samplingLogp: "rollout.sampling_logp",
  oldLogp: "rollout.old_logp",
  refLogp: "rollout.ref_logp",
  advantages: "rollout.advantages",
  oldValue: "rollout.old_value",
  valueTarget: "rollout.value_target",
} as const

type RowRecord = Omit<RolloutRow, "tokenIds" | keyof typeof LOGPS> & { readonly tokens: number }

interface StateRecord {
  readonly progress: RolloutProgress
  readonly rollout:
    | (Pick<Rollout, "number" | "firstStep" | "replayed"> & { rows: readonly RowRecord[] })
    | null
  /** Samples kept to be trained once more; a checkpoint that does not say has none. */
  readonly kept?: readonly RowRecord[]
}

/** What a run knows of its rollouts beside its weights. */
export interface RolloutState {
  readonly progress: RolloutProgress
  /** What is left to train. */
  readonly rollout: Rollout | undefined
  readonly kept: readonly RolloutRow[]
}

function recordOf({ tokenIds, ...row }: RolloutRow): RowRecord {
  const own = Object.entries(row).filter(([key]) => !Object.hasOwn(LOGPS, key))
  return { ...(Object.fromEntries(own) as typeof row), tokens: tokenIds.length }
}

export function stateTensors({ progress, rollout, kept }: RolloutState): TensorToWrite[] {
  const rows = [...(rollout?.rows ?? []), ...kept]
  const record: StateRecord = {
    progress,
    rollout: rollout
      ? {
          number: rollout.number,
          firstStep: rollout.firstStep,
          ...(rollout.replayed ? { replayed: rollout.replayed } : {}),
          rows: rollout.rows.map(recordOf),
        }
      : null,
    ...(kept.length > 0 ? { kept: kept.map(recordOf) } : {}),
  }
  const text = new TextEncoder().encode(JSON.stringify(record))
  const state: TensorToWrite = { name: STATE, dtype: "U8", shape: [text.length], data: text }
  if (rows.length === 0) return [state]
  const ids = bytesOf(Int32Array.from(rows.flatMap(({ tokenIds }) => tokenIds)))
  return [
    state,
    { name: IDS, dtype: "U8", shape: [ids.length], data: ids },
    ...Object.entries(LOGPS).flatMap(([key, name]): TensorToWrite[] => {
      const parts = rows.flatMap((row) => row[key as keyof typeof LOGPS] ?? [])
      if (parts.length < rows.length) return []
      const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0))
      let at = 0
      for (const part of parts) {
        all.set(part, at)
        at += part.length
      }
      return [heldTensor(name, [all.length], all)]
    }),
  ]
}

/** What a checkpoint's tensors say; undefined where they are of no run with rollouts. */
export function savedState(saved: ReadonlyMap<string, HostTensor>): RolloutState | undefined {
  const state = saved.get(STATE)
  if (!state) return undefined
  const text = new TextDecoder().decode(state.data as Uint8Array)
  const { progress, rollout, kept = [] } = JSON.parse(text) as StateRecord
  const bytes = (saved.get(IDS)?.data ?? new Uint8Array()) as Uint8Array
  const ids = new Int32Array(bytes.slice().buffer)
  const logps = (key: keyof typeof LOGPS) => saved.get(LOGPS[key])?.data as Float32Array | undefined
  const columns = (Object.keys(LOGPS) as (keyof typeof LOGPS)[]).map(
    (key) => [key, logps(key)] as const,
  )
  let [idAt, at] = [0, 0]
  const rowOf = ({ tokens, ...row }: RowRecord): RolloutRow => {
    const tokenIds = [...ids.subarray(idAt, idAt + tokens)]
    idAt += tokens
    const [start, end] = [at, at + ownTokens({ ...row, tokenIds }).length]
    at = end
    const own = columns.flatMap(([key, all]) => (all ? [[key, all.slice(start, end)]] : []))
    return { refLogp: undefined, ...row, tokenIds, ...Object.fromEntries(own) } as RolloutRow
  }
  const rows = rollout?.rows.map(rowOf) ?? []
  return {
    progress,
    rollout: rollout === null ? undefined : { ...rollout, rows },
    kept: kept.map(rowOf),
  }
}

import { plural } from "../plural.ts"
import type { ConfigProblem } from "./issues.ts"
import type { Config } from "./resolve-config.ts"
import type { EngineName } from "./schema.ts"

/** An option that not every engine honours. */
interface Limit {
  readonly path: readonly string[]
  readonly engines: readonly EngineName[]
  readonly asked: (config: Config) => string | undefined
}

/** Options are honoured by both engines unless a row here says otherwise. */
const LIMITS: readonly Limit[] = [
  {
    path: ["quantization"],
    engines: ["onnx"],
    asked: ({ quantization }) =>
      quantization === "none" ? undefined : `quantization: ${quantization}`,
  },
  {
    path: ["reference"],
    engines: ["onnx"],
    asked: ({ reference }) => (reference === null ? undefined : `reference: ${reference}`),
  },
  {
    path: ["vision_tower"],
    engines: ["torch"],
    asked: ({ vision_tower: tower }) => (tower === "frozen" ? undefined : `vision_tower: ${tower}`),
  },
  {
    path: ["data", "image_max_pixels"],
    engines: ["torch"],
    asked: ({ data }) => (data.image_max_pixels === null ? undefined : "data.image_max_pixels"),
  },
  {
    path: ["forgetting"],
    engines: ["onnx"],
    asked: ({ forgetting }) => (forgetting === null ? undefined : "forgetting"),
  },
  {
    path: ["device_memory"],
    engines: ["onnx"],
    asked: ({ device_memory }) => (device_memory === "auto" ? undefined : "device_memory"),
  },
]

/** What the chosen engine cannot honour, each naming the engine that can. */
export function engineProblems(config: Config): ConfigProblem[] {
  return [...unsupported(config), ...unshared(config)]
}

/** How many processes compute a row together. */
export const rowSharers = ({ engine }: Pick<Config, "engine">): number =>
  engine.name === "torch" ? engine.context_parallel : 1

/** Processes that share rows come in whole groups. */
function unshared({ engine }: Config): ConfigProblem[] {
  if (engine.name !== "torch" || engine.nproc_per_node === "auto") return []
  const { context_parallel: sharers, nproc_per_node, nnodes } = engine
  const processes = nproc_per_node * nnodes
  if (processes % sharers === 0) return []
  return [
    {
      path: ["engine", "context_parallel"],
      at: "value" as const,
      message: `expected a number that divides the ${processes} ${plural(processes, "process", "processes")} (nproc_per_node x nnodes), got ${sharers}`,
    },
  ]
}

function unsupported(config: Config): ConfigProblem[] {
  return LIMITS.flatMap(({ path, engines, asked }) => {
    const option = asked(config)
    if (option === undefined || engines.includes(config.engine.name)) return []
    const able = engines.map((name) => `engine: ${name}`).join(" or ")
    return [
      {
        path,
        at: "value" as const,
        message: `engine ${config.engine.name} cannot honour ${option}; ${able} can`,
      },
    ]
  })
}

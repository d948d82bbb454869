import type { ConfigProblem } from "./issues.ts"
import type { Config } from "./resolve-config.ts"
import type { EngineName } from "./schema.ts"

/** An option that not every engine honours. */
interface Limit {
  readonly path: readonly string[]
  readonly engines: readonly EngineName[]
  readonly asked: (config: Config) => string | undefined
}

/** The first of an adapter's keys that makes modules differ. */
function modulePattern({ adapter }: Config): string | undefined {
  if (!adapter) return undefined
  const { target_modules, exclude_modules, layers_to_transform } = adapter
  if (typeof target_modules === "string" && target_modules !== "all-linear") {
    return "a regular expression in adapter.target_modules"
  }
  if (exclude_modules !== null) return "adapter.exclude_modules"
  if (layers_to_transform !== null) return "adapter.layers_to_transform"
  if (Object.keys(adapter.rank_pattern).length > 0) return "adapter.rank_pattern"
  return Object.keys(adapter.alpha_pattern).length > 0 ? "adapter.alpha_pattern" : undefined
}

/** Kinds of adapters that the worker does not train. */
function adapterKind({ adapter }: Config): string | undefined {
  return adapter?.modules_to_save?.length ? "adapter.modules_to_save" : undefined
}

/** Options are honoured by both engines unless a row here says otherwise. */
const LIMITS: readonly Limit[] = [
  { path: ["adapter"], engines: ["onnx"], asked: modulePattern },
  { path: ["adapter"], engines: ["onnx"], asked: adapterKind },
  {
    path: ["quantization"],
    engines: ["onnx"],
    asked: ({ quantization }) =>
      quantization === "none" ? undefined : `quantization: ${quantization}`,
  },
  {
    path: ["optimizer"],
    engines: ["onnx"],
    asked: ({ optimizer }) => (optimizer === "adamw" ? undefined : `optimizer: ${optimizer}`),
  },
  {
    path: ["objective"],
    engines: ["onnx"],
    asked: ({ rollout, objective }) =>
      rollout === null ? undefined : `objective: ${objective.name}, which samples while it trains`,
  },
  {
    path: ["router_aux_loss_coef"],
    engines: ["torch"],
    asked: ({ router_aux_loss_coef: coefficient }) =>
      coefficient ? `router_aux_loss_coef: ${coefficient}` : undefined,
  },
  {
    path: ["device_memory"],
    engines: ["onnx"],
    asked: ({ device_memory }) => (device_memory === "auto" ? undefined : "device_memory"),
  },
]

/** What the chosen engine cannot honour, each naming the engine that can. */
export function engineProblems(config: Config): ConfigProblem[] {
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

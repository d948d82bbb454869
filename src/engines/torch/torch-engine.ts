/** The torch engine: PyTorch FSDP2 under torchrun, here or as a Slurm job that is followed. */
import { shortCount } from "../../report/units.ts"
import { checkRunPlace } from "../../run/run-place.ts"
import { closeRows, type DataPlan } from "../../train/plan.ts"
import type { Engine, EnginePlan } from "../engine.ts"
import { dataLines } from "../plan-lines.ts"
import { followTorchRun } from "./torch-follow.ts"
import { torchConfig, torchPlan, trainWithTorch } from "./torch-run.ts"

export const torchEngine: Engine = {
  start(config, options) {
    const follows = torchConfig(config).launcher === "slurm"
    return follows ? followTorchRun(config, options) : trainWithTorch(config, options)
  },
  async plan(config, options) {
    checkRunPlace(config)
    const plan = await torchPlan(config, options)
    closeRows(plan)
    return described(plan)
  },
}

function described(plan: DataPlan): EnginePlan {
  const { config, order, rows, lints } = plan
  const { nproc_per_node, nnodes, context_parallel, dtype, launcher } = torchConfig(config)
  const given = config.micro_batch_tokens
  const perNode = nproc_per_node === "auto" ? "one a GPU, or one on the CPU" : `${nproc_per_node}`
  const processes = nnodes === 1 ? perNode : `${perNode}, on each of ${nnodes} nodes`
  const shared = context_parallel === 1 ? "" : `; ${context_parallel} share every row`
  return {
    steps: order.steps,
    lines: [
      ...dataLines(plan),
      ["processes", `${processes}${shared}; ${launcher}`],
      ["precision", dtype === "bf16" ? "bfloat16, master weights in float32" : "float32"],
      [
        "micro-batch",
        given === "auto"
          ? "16,384 tokens on a GPU, halved to what its memory holds; 4,096 on a CPU"
          : `${shortCount(given)} tokens`,
      ],
      ["memory", "measured by the worker when it starts"],
    ],
    json: {
      engine: "torch",
      steps: order.steps,
      manifest: rows.manifest,
      processes: { nproc_per_node, nnodes, context_parallel },
      dtype,
      micro_batch_tokens: given,
    },
    warnings: lints,
  }
}

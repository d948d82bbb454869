/** What may stand under `engine`. */
import { z } from "zod"

export const ENGINES = ["onnx", "torch"] as const
export type EngineName = (typeof ENGINES)[number]

/** An execution provider of ONNX Runtime in a library of its own. */
const libraryDevice = z.strictObject({
  library: z
    .string()
    .min(1)
    .describe("The library's file. Its code runs with your rights; see docs/devices.md."),
  name: z
    .string()
    .min(1)
    .describe(
      "Which of its devices: the provider's name, or CPU, GPU or NPU. Left out: the only one.",
    )
    .optional(),
  options: z.record(z.string(), z.string()).describe("The provider's own options.").optional(),
})

export const onnxEngine = z.strictObject({
  name: z.literal("onnx").describe("The local engine: ONNX Runtime."),
  device: z
    .union([z.enum(["auto", "cpu", "webgpu"]), libraryDevice])
    .describe("Where it computes, or an execution provider's library: { library: FILE }.")
    .default("auto"),
  threads: z
    .union([z.literal("auto"), z.number().int().min(1).max(1024)])
    .describe("CPU threads; auto takes one a core.")
    .default("auto"),
  dtype: z
    .enum(["auto", "bf16", "fp32"])
    .describe(
      "What the factors of products are rounded to; sums, weights and moments are float32 either way. auto: bf16 where the CPU multiplies it and the model has 50 million parameters or more, else fp32.",
    )
    .default("auto"),
})
export const torchEngine = z.strictObject({
  name: z.literal("torch").describe("PyTorch FSDP2 under torchrun, for GPUs and clusters."),
  nproc_per_node: z
    .union([z.literal("auto"), z.number().int().min(1).max(1024)])
    .describe("Processes on each node; auto takes one a GPU.")
    .default("auto"),
  nnodes: z.number().int().min(1).max(10_000).describe("Nodes.").default(1),
  context_parallel: z
    .number()
    .int()
    .min(1)
    .max(1024)
    .describe(
      "How many processes share every row, which may then be that many times as long; divides the number of processes. 1: each has rows of its own.",
    )
    .default(1),
  dtype: z
    .enum(["bf16", "fp32"])
    .describe("What it computes in; master weights are float32 either way.")
    .default("bf16"),
  launcher: z
    .enum(["torchrun", "slurm"])
    .describe("Start torchrun here, or write an sbatch file.")
    .default("torchrun"),
  python: z.string().min(1).describe("The Python that has PyTorch.").default("python3"),
  sbatch: z
    .record(z.string(), z.union([z.string(), z.number()]))
    .describe("Options of the sbatch file, e.g. { partition: gpu, time: 04:00:00 }.")
    .default({}),
})
export const engine = z
  .union([z.enum(ENGINES), z.discriminatedUnion("name", [onnxEngine, torchEngine])])
  .describe(
    "What computes: onnx (this machine) or torch (GPUs and clusters), by name or with its options.",
  )

export type OnnxEngineConfig = z.output<typeof onnxEngine>
export type TorchEngineConfig = z.output<typeof torchEngine>
export type EngineConfig = OnnxEngineConfig | TorchEngineConfig

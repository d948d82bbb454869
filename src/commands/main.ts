#!/usr/bin/env node
/**
 * The command line. To add a verb: write `src/commands/<verb>.ts` and one row below.
 *
 * A verb's file exports `command(verb: Command): void`. It is given a commander `Command` that
 * already has its name and summary, and adds arguments, options and an action:
 *
 *     export function command(verb: Command): void {
 *       verb
 *         .argument("<config>", "the config file")
 *         .option("--json", "print one JSON document")
 *         .action(async (config: string, { json }: { json?: boolean }) => {
 *           const result = await something(config)         // throws InputError: exit code 2
 *           if (json) printJson(result)                    // ./terminal.ts: results on stdout
 *           else say(`done: ${result.rows} rows`)          // ./terminal.ts: words on stderr
 *         })
 *     }
 *
 * The file is imported only when its verb is used, so imports at its top cost the others nothing.
 * Work that can be interrupted runs inside `interruptible` (./interrupt.ts).
 */
import { runCli, type Verb } from "./shell/frame.ts"

const VERBS: readonly Verb[] = [
  {
    name: "demo",
    summary: "SFT and DFT on the bundled model: trains, asks, writes a report; needs no network",
    load: () => import("./demo.ts"),
  },
  {
    name: "init",
    summary: "look at a model and rows, and write a dftune.yaml that fits them",
    load: () => import("./init.ts"),
  },
  {
    name: "preview",
    summary: "show tokenised examples, coloured by what is trained",
    load: () => import("./preview.ts"),
  },
  {
    name: "probe",
    summary: "before training: does the data suit DFT, what will it cost, which learning rate",
    load: () => import("./probe.ts"),
  },
  {
    name: "train",
    summary: "train a model as a config says",
    load: () => import("./train.ts"),
  },
  {
    name: "generate",
    summary: "sample completions from a model, a run or an endpoint",
    load: () => import("./generate.ts"),
  },
  {
    name: "grade",
    summary: "grade samples against gold answers; keep the correct ones for training",
    load: () => import("./grade.ts"),
  },
  {
    name: "eval",
    summary: "score a model on benchmarks, with intervals and every verdict explained",
    load: () => import("./eval.ts"),
  },
  {
    name: "compare",
    summary: "runs side by side: table, curves, token-probability histograms",
    load: () => import("./compare.ts"),
  },
  {
    name: "chat",
    summary: "talk to a model or a run",
    load: () => import("./chat.ts"),
  },
  {
    name: "serve",
    summary: "runs live and an OpenAI-compatible API for them, on this machine alone",
    load: () => import("./serve.ts"),
  },
  {
    name: "export",
    summary: "write a model for other tools: Transformers, PEFT, llama.cpp, Ollama",
    load: () => import("./export.ts"),
  },
  {
    name: "convert",
    summary: "a GGUF or quantised model as a plain folder, or any model as GGUF or in 4 or 8 bits",
    load: () => import("./convert.ts"),
  },
  {
    name: "check",
    summary: "on this machine, model and rows: fast against plain, a table of differences",
    load: () => import("./check.ts"),
  },
  {
    name: "study",
    summary:
      "a grid of runs and evaluations with contrasts named beforehand; goes on where it stopped",
    load: () => import("./study.ts"),
  },
  {
    name: "launch",
    summary:
      "train on several processes or nodes with engine: torch (torchrun, slurm, kubernetes, skypilot)",
    load: () => import("./launch.ts"),
  },
  {
    name: "torch",
    summary: "set up or check the Python of engine: torch",
    load: () => import("./torch.ts"),
  },
  {
    name: "doctor",
    summary: "say what this machine can run, and what a bug report needs",
    load: () => import("./doctor.ts"),
  },
  {
    name: "config",
    summary: "print the config's JSON Schema, or a config with its defaults filled in",
    load: () => import("./config.ts"),
  },
]

await runCli(VERBS, process.argv.slice(2))

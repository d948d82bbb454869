import type { Command } from "commander"
import { loadConfig } from "../config/load-config.ts"
import { InputError } from "../errors.ts"
import { cells } from "../evaluate/report.ts"
import { plural } from "../plural.ts"
import {
  shortBytes,
  shortCount,
  shortDuration,
  shortNumber,
  shortSeconds,
} from "../report/units.ts"
import type { EstimatedParts } from "../train/estimate.ts"
import { type Fit, fit } from "../train/fit.ts"
import { fitConfig } from "../train/fit-config.ts"
import { type ProbeResult, probe } from "../train/probe.ts"
import { interruptible } from "./shell/interrupt.ts"
import { setOption } from "./shell/option-values.ts"
import { progressLine } from "./shell/progress-line.ts"
import { sameConfig } from "./shell/road.ts"
import { print, printJson, say, sayWarning } from "./shell/terminal.ts"

const FIT_HELP = `
--fit reads config.json and the headers of the weights' files, of a hub id (or owner/name/FILE.gguf)
by ranges; then it times a few layers with made-up weights. Steps are of 8 rows of 512 tokens unless
a config or --set says others: dftune probe --fit owner/name --set batch_size=4 data.max_length=1024`

interface Options {
  readonly set?: string[]
  readonly lrRange?: boolean
  readonly fit?: string
  readonly json?: boolean
}

export function command(verb: Command): void {
  verb
    .argument("[config]", "the config file; with --fit its settings in place of the defaults")
    .addOption(setOption())
    .option("--lr-range", "also try growing learning rates for some steps")
    .option(
      "--fit <model>",
      "memory and time of full, LoRA and int4 training, before anything is downloaded",
    )
    .option("--json", "print one JSON document")
    .addHelpText("after", FIT_HELP)
    .action(async (path: string | undefined, options: Options) => {
      if (options.fit !== undefined) return showFit(options.fit, path, options)
      if (path === undefined) {
        throw new InputError("probe: expected a config file, or --fit MODEL")
      }
      const config = await loadConfig(path, { set: options.set ?? [] })
      const line = progressLine()
      const result = await interruptible((signal) =>
        probe(config, { signal, onProgress: line.show, lrRange: options.lrRange === true }),
      )
      line.clear()
      if (options.json) return printJson(result)
      for (const { code, message, hint } of result.warnings) sayWarning(code, message, hint)
      print(probeText(result))
      // the probe says it of all rows, and the config says otherwise
      const unsuited =
        config.objective.name === "dft" &&
        result.sources.length > 0 &&
        result.sources.every(({ advice }) => advice === "sft")
      const set = [...(options.set ?? []), ...(unsuited ? ["objective=sft"] : [])]
      say(`next: ${sameConfig("train", path, set)}`)
    })
}

/** Whether, and how fast, a model that need not be here yet could be trained. */
async function showFit(model: string, path: string | undefined, options: Options): Promise<void> {
  if (options.lrRange) throw new InputError("probe: --lr-range needs the model itself, not --fit")
  const config = await fitConfig(model, { config: path, set: options.set ?? [] })
  const line = progressLine()
  const found = await interruptible((signal) => fit(config, { signal, onProgress: line.show }))
  line.clear()
  if (options.json) return printJson(found)
  print(fitText(found))
}

const FIT_WAYS = { full: "full", lora: "adapter: lora", int4: "adapter: lora, quantization: int4" }

/** What the fit found, for people. */
function fitText(found: Fit): string {
  const { parameters, layers, stored_bytes, free_bytes, batch_size, row_tokens, dtype } = found
  const rows = found.ways.map((way) => [
    FIT_WAYS[way.name],
    way.memory_bytes === null ? "-" : shortBytes(way.memory_bytes),
    way.memory_bytes === null ? (way.why ?? "no") : way.fits ? "yes" : "no",
    ...(way.seconds_per_step === null || way.tokens_per_second === null
      ? ["-", "-", "-"]
      : [
          shortSeconds(way.seconds_per_step),
          shortCount(way.tokens_per_second),
          shortDuration(1e6 / way.tokens_per_second),
        ]),
  ])
  return [
    `${found.model}: ${found.model_type}, ${shortCount(parameters)} parameters, ${layers} layers, ${shortBytes(stored_bytes)} of weights`,
    `steps of ${batch_size} rows of ${row_tokens} tokens, all trained, in ${dtype} (--set batch_size=, data.max_length=); ${shortBytes(free_bytes)} of memory free`,
    "",
    cells([["way", "memory", "fits", "a step", "tokens/s", "1M tokens"], ...rows]),
    ...found.notes.map((note) => `note: ${note}`),
  ].join("\n")
}

/** The parts that take time, the longest first. */
function partsText(parts: EstimatedParts): string {
  return Object.entries(parts)
    .filter(([, seconds]) => seconds >= 0.05)
    .sort(([, a], [, b]) => b - a)
    .map(([name, seconds]) => `${name} ${shortDuration(seconds)}`)
    .join(", ")
}

function rolloutLines(rollout: NonNullable<ProbeResult["rollout"]>): string[] {
  const { prompts, sequences, reward, reward_std, rewards, logp_difference } = rollout
  const each = Object.entries(rewards).map(
    ([label, { mean, std }]) => `${label} ${shortNumber(mean)} ± ${shortNumber(std)}`,
  )
  const { mean, min, max } = rollout.completion_length
  return [
    `${sequences} answers to ${prompts} prompts, by the model as it is`,
    `  reward      ${shortNumber(reward)}, deviation ${shortNumber(reward_std)} (${each.join(", ")})`,
    `  all equal   ${percent(rollout.zero_variance_groups)} of the groups: they teach nothing`,
    `  length      ${mean.toFixed(1)} tokens (${min} to ${max}), ${percent(rollout.truncated)} cut at the limit`,
    `  entropy     ${rollout.entropy === null ? "none" : shortNumber(rollout.entropy)} nats a token`,
    `  sampler     ${logp_difference === null ? "not compared" : `${logp_difference.mean.toExponential(1)} nats from training's ln p on average, ${logp_difference.max.toExponential(1)} at most`}`,
    `  sampling    ${shortCount(rollout.tokens_per_second)} tokens/s`,
  ]
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`

/** The probe's findings for people. */
export function probeText({ sources, rollout, estimate, lr_range }: ProbeResult): string {
  const lines = rollout ? rolloutLines(rollout) : []
  lines.push(
    ...sources.flatMap((source) => [
      `${source.source}  (${source.rows} rows looked at)`,
      `  targets     ${shortCount(source.supervised_tokens)}, mean p ${source.mean_p.toFixed(3)}, nll ${source.nll.toFixed(3)}, below 0.1: ${percent(source.unlikely)}`,
      ...Object.entries(source.classes).map(
        ([name, { count, mean_p, unlikely }]) =>
          `  ${name.padEnd(11)} ${shortCount(count)}, mean p ${shortNumber(mean_p)}, below 0.1: ${percent(unlikely)}`,
      ),
      `  suits       ${source.advice}: ${source.why}`,
    ]),
  )
  if (estimate) {
    lines.push(
      "",
      `estimate: ${estimate.steps} ${plural(estimate.steps, "step")} in ${shortDuration(estimate.seconds)}, ${shortCount(estimate.tokens_per_second)} tokens/s, ${shortBytes(estimate.memory_bytes)} of memory`,
      `of that: ${partsText(estimate.parts)}`,
    )
  }
  if (lr_range) {
    lines.push("", "learning rate   loss      nll")
    for (const { learning_rate, loss, nll } of lr_range.points) {
      lines.push(
        `${learning_rate.toExponential(1).padEnd(15)} ${shortNumber(loss).padEnd(9)} ${shortNumber(nll)}`,
      )
    }
    const { suggested } = lr_range
    lines.push(
      suggested === null
        ? "no rate lowered the loss: look at the data, or raise batch_size"
        : `try learning_rate: ${suggested.toExponential(1)}`,
    )
  }
  return lines.join("\n")
}

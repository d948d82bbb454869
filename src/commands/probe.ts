import type { Command } from "commander"
import { loadConfig } from "../config/load-config.ts"
import { shortBytes, shortCount, shortDuration, shortNumber } from "../report/units.ts"
import type { EstimatedParts } from "../train/estimate.ts"
import { type ProbeResult, probe } from "../train/probe.ts"
import { interruptible } from "./shell/interrupt.ts"
import { setOption } from "./shell/option-values.ts"
import { print, printJson, progressLine, sayWarning } from "./shell/terminal.ts"

export function command(verb: Command): void {
  verb
    .argument("<config>", "the config file")
    .addOption(setOption())
    .option("--lr-range", "also try growing learning rates for some steps")
    .option("--json", "print one JSON document")
    .action(
      async (path: string, options: { set?: string[]; lrRange?: boolean; json?: boolean }) => {
        const config = await loadConfig(path, { set: options.set ?? [] })
        const line = progressLine()
        const result = await interruptible((signal) =>
          probe(config, { signal, onProgress: line.show, lrRange: options.lrRange === true }),
        )
        line.clear()
        if (options.json) return printJson(result)
        for (const { code, message, hint } of result.warnings) sayWarning(code, message, hint)
        print(probeText(result))
      },
    )
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
      `estimate: ${estimate.steps} steps in ${shortDuration(estimate.seconds)}, ${shortCount(estimate.tokens_per_second)} tokens/s, ${shortBytes(estimate.memory_bytes)} of memory`,
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

import { type Command, InvalidArgumentError, Option } from "commander"
import { ROUNDINGS } from "../../export/names.ts"

/** A parser of whole numbers from `least` on. */
export function wholeFrom(least: number) {
  return (text: string): number => {
    const value = Number(text)
    if (text.trim() !== "" && Number.isSafeInteger(value) && value >= least) return value
    throw new InvalidArgumentError(`expected a whole number from ${least}`)
  }
}

/** A parser of numbers in a range, both ends in it. */
export function numberIn(least: number, most: number) {
  return (text: string): number => {
    const value = Number(text)
    if (text.trim() !== "" && value >= least && value <= most) return value
    throw new InvalidArgumentError(`expected a number from ${least} to ${most}`)
  }
}

/** `--top-k`: 0 and -1 are off, as in other programs. */
function topKOption(text: string): number | undefined {
  const value = wholeFrom(-1)(text)
  return value <= 0 ? undefined : value
}

/** What verbs that sample take beside a temperature. */
export function samplingOptions(verb: Command): Command {
  return verb
    .option("--top-p <p>", "only the most likely tokens that add up to p", numberIn(1e-9, 1))
    .option("--top-k <k>", "only the k most likely tokens; 0 and -1: all", topKOption)
    .option(
      "--min-p <p>",
      "only tokens at least p times as likely as the likeliest",
      numberIn(0, 1),
    )
    .option(
      "--repetition-penalty <x>",
      "on logits of tokens that were there before; 1 is none",
      numberIn(0.01, 100),
      1,
    )
}

/** Of a repeatable option: the texts so far and one more. */
export const collected = (value: string, before: readonly string[] = []): string[] => [
  ...before,
  value,
]

/** `--columns NAME=COLUMN`, repeatable; the pairs so far and one more. */
export function columnOption(
  pair: string,
  before: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const [, name, column] = /^([^=]+)=(.+)$/s.exec(pair) ?? []
  if (name !== undefined && column !== undefined) return { ...before, [name.trim()]: column }
  throw new InvalidArgumentError("expected NAME=COLUMN, as in question=Q")
}

/** `--stop`, repeatable; the texts so far and one more. */
export function stopOption(value: string, before: readonly string[]): string[] {
  if (value !== "") return [...before, value]
  throw new InvalidArgumentError("expected a text, got an empty one, which would end everything")
}

const DEVICES = ["cpu", "webgpu", "auto"] as const
export type DeviceChoice = (typeof DEVICES)[number]

/** `--device`, for verbs that run a model. */
export function deviceOption(): Option {
  return new Option("--device <kind>", "where the model runs").choices(DEVICES).default("cpu")
}

const DTYPES = ["auto", "bf16", "fp32"] as const
export type DtypeChoice = (typeof DTYPES)[number]

/** `--dtype`, for verbs that run a model. */
export function dtypeOption(): Option {
  const text =
    "what products round to; auto: bf16 where the processor has it and the model is large"
  return new Option("--dtype <type>", text).choices(DTYPES).default("auto")
}

/** `--base`, for verbs that open a model. */
export function baseOption(): Option {
  return new Option("--base <model>", "of an adapter: in place of the base that it names")
}

export function roundingOption(): Option {
  return new Option(
    "--rounding <rule>",
    "to 16 bits: nearest, or stochastic, which keeps small changes in the mean",
  ).choices(ROUNDINGS)
}

/** `--set key.path=value`, repeatable, for verbs that read a config. */
export function setOption(): Option {
  return new Option(
    "--set <key=value>",
    "override a setting, e.g. --set learning_rate=1e-5 (repeatable)",
  ).argParser(collected)
}

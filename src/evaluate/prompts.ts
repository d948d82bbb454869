import type { LayoutParts } from "../data/render.ts"
import { promptOf } from "../generate/prompt-rows.ts"
import type { Prompt } from "../generate/sample-source.ts"
import type { JudgeName } from "./judges/index.ts"
import type { Problem } from "./suites/suite.ts"

export const BOXED_INSTRUCTION =
  "Please reason step by step, and put your final answer within \\boxed{}."

const STYLES = {
  /**
   * As a training row of problem and solution would lay it out; of a trained model, as its rows
   * were.
   */
  auto: (problem: string, layout: LayoutParts) =>
    promptOf({ prompt: problem, question: true }, layout),
  /** The model's own chat template, the instruction after the problem. */
  chat: (problem: string) => [{ role: "user", content: `${problem}\n${BOXED_INSTRUCTION}` }],
  /** The problem alone. */
  raw: (problem: string) => problem,
  "qwen-boxed": (problem: string) =>
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" +
    `<|im_start|>user\n${problem}\n${BOXED_INSTRUCTION}<|im_end|>\n<|im_start|>assistant\n`,
  "llama-base-boxed": (problem: string) =>
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n" +
    `${problem}\n${BOXED_INSTRUCTION}<|end_of_text|>` +
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
  "deepseek-math": (problem: string) => `User: ${problem}\n${BOXED_INSTRUCTION}\n\nAssistant:`,
} as const satisfies Record<string, (problem: string, layout: LayoutParts) => Prompt>

export type PromptStyle = keyof typeof STYLES
export const PROMPT_STYLES = Object.keys(STYLES) as PromptStyle[]

/** A code problem's answer continues its code where there is no template; it asks for no box. */
export function promptIn(
  style: PromptStyle,
  { problem, continues = problem }: Pick<Problem, "problem" | "continues">,
  { judge = "math", ...layout }: LayoutParts & { readonly judge?: JudgeName },
): Prompt {
  if (judge === "math") return STYLES[style](problem, layout)
  if (style === "raw" || (style === "auto" && !layout.hasTemplate)) return continues
  const prompt = STYLES[style](problem, layout)
  const without = (text: string) => text.replace(`\n${BOXED_INSTRUCTION}`, "")
  if (typeof prompt === "string") return without(prompt)
  return Array.isArray(prompt)
    ? prompt.map((turn) => ({ ...turn, content: without(turn.content) }))
    : prompt
}

/** The paper's settings (docs/method.md, 1.4): 16 samples at temperature 1, 4,096 new tokens. */
export const PAPER_PRESET = {
  n: 16,
  temperature: 1,
  topP: 1,
  maxNewTokens: 4096,
  prompt: "qwen-boxed",
  mode: "paper",
  stop: ["</s>", "<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>"],
} as const

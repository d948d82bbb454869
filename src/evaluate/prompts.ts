import type { LayoutParts } from "../data/render.ts"
import { promptOf } from "../generate/prompt-rows.ts"
import type { Prompt } from "../generate/sample-source.ts"

export const BOXED_INSTRUCTION =
  "Please reason step by step, and put your final answer within \\boxed{}."

const STYLES = {
  /** As a training row of problem and solution would lay it out; of a trained model, as its rows were. */
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

export const promptIn = (style: PromptStyle, problem: string, layout: LayoutParts): Prompt =>
  STYLES[style](problem, layout)

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

/** Calls of tools in answers, read as the model's own template writes them. */
import { type StopText, stopText } from "../generate/index.ts"
import { callForm, showsTools } from "../text/call-form.ts"
import { calledTools, mayBeCall, opening, spokenTokens } from "../text/called-tools.ts"
import type { DecodeStream } from "../text/index.ts"
import type { Part } from "./answer-part.ts"
import type { Asked } from "./completion-request.ts"
import type { ModelLease } from "./models.ts"
import { refusal } from "./refusal.ts"

export interface CallAnswers {
  /** What a forced call begins with: the model goes on from there. */
  readonly begun: string
  /** A part with text that cannot be a call, and with its calls when it is the last. */
  readonly read: (part: Part) => Part
}

interface Answer {
  readonly stream: DecodeStream
  readonly stops: StopText
  /** Lets words through until calls may begin. */
  readonly words: Pick<StopText, "push">
  shown: number
}

/**
 * undefined for a request without tools, and where the template writes calls in no form that is
 * understood: the model is shown the tools, and what it says stays text.
 *
 * @throws the 400 of a forced call for such a model, and of tools that a template does not show
 */
export function callAnswers(
  { tools, settings }: Asked,
  { template, tokenizer, stopTokenIds }: ModelLease["open"],
): CallAnswers | undefined {
  if (!tools || !template) return undefined // messages without a template are refused elsewhere
  const { known, forced, parallel } = tools
  const form = callForm(template)
  if (!form) {
    if (!showsTools(template)) {
      const why = `${template.path}: this chat template shows the model no tools`
      throw refusal(400, `tools: ${why}; leave them out, or set tool_choice to "none"`, {
        param: "tools",
      })
    }
    if (!forced) return undefined
    const why = `${template.path}: this chat template writes no calls of tools in a form that is understood, so none can be begun for the model`
    throw refusal(400, `tool_choice: ${why}; leave it out, and read calls from the answer's text`, {
      param: "tool_choice",
    })
  }
  const begun = forced ? form.begun(forced.name) : ""
  const first = opening(form)
  const isWord = spokenTokens(form, tokenizer, stopTokenIds)
  const answers = new Map<number, Answer>()
  const begin = (): Answer => ({
    stream: tokenizer.decodeStream(),
    stops: stopText(settings.stop),
    words: forced ? { push: () => "" } : first === "" ? words() : stopText([first]),
    shown: 0,
  })
  const words = () => {
    let held: string | undefined = ""
    return {
      push(text: string) {
        if (held === undefined) return text
        held += text
        if (mayBeCall(held, form, known)) return ""
        const all = held
        held = undefined
        return all
      },
    }
  }
  return {
    begun,
    read({ choice, tokens, finish }) {
      const answer = answers.get(choice) ?? begin()
      answers.set(choice, answer)
      const { stream, stops } = answer
      let more = tokens
        .filter(({ tokenId }) => isWord(tokenId))
        .map(({ tokenId }) => stream.push(tokenId))
        .join("")
      if (finish !== undefined) more += stream.end()
      const shown = stops.push(more) + (finish === undefined || stops.stopped ? "" : stops.end())
      const text = answer.words.push(shown)
      answer.shown += text.length
      if (finish === undefined) return { choice, tokens, text }
      const { after, calls } = calledTools(begun + stops.text, form, known)
      if (calls.length === 0) {
        return { choice, tokens, finish, text: text + begun + stops.text.slice(answer.shown) }
      }
      return {
        ...{ choice, tokens, text: after === "" ? text : `${text}\n${after}` },
        finish: finish === "stop" ? "tool_calls" : finish,
        calls: parallel ? calls : calls.slice(0, 1),
      }
    },
  }
}

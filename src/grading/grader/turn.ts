/** Which part of a completion is the model's own answer. */

const MAX_TEXT = 200_000

/** Ends of turns and starts of other people's, in the templates of the common model families. */
const TURN_MARK =
  /<[|｜](?:im_end|im_start|endoftext|eot_id|eom_id|end_of_text|start_header_id|end|user|assistant|system|return|call|eod_id|endofprompt|END_OF_TURN_TOKEN|START_OF_TURN_TOKEN|EOT|end▁of▁sentence|User|Assistant|end_of_turn|eos)[|｜]>|<\/?s>|<(?:end_of_turn|start_of_turn|eos|EOS|END)>|\[\/?INST\]|<<\/?SYS>>|<\/assistant>|\[\|endofturn\|\]/u

/** Where a base model, having answered, goes on with a question or a speaker of its own. */
const NEXT_QUESTION =
  /\n[ \t]{0,8}(?:#{1,4}[ \t]{0,4}|\*\*)?(?:(?:Next |New |Another )?(?:Question|Problem|Exercise|Example|Q|Human|User|Student|Input|Instruction|Query|Task|问题|题目|Вопрос|Pregunta)\s*\d*\s*(?:\*\*)?\s*[:：]|#{2,4}\s*(?:Instruction|Input|Question|Problem|Human|User)\b)/gu

/** The completion's own turn, behind any thinking. */
export function ownTurn(completion: string): string {
  const whole = completion.slice(-MAX_TEXT)
  const parts = whole.split(TURN_MARK)
  const turn = parts.find((part) => part.trim() !== "") ?? whole
  const thought = turn.lastIndexOf("</think>")
  const after = thought < 0 ? "" : turn.slice(thought + "</think>".length)
  return after.trim() === "" ? turn : after
}

/**
 * The text before each question that the model asks itself, shortest first, and the whole text
 * last: the first that holds a marked answer is the one to grade.
 */
export function* beforeQuestions(turn: string): Generator<string> {
  let count = 0
  for (const match of turn.matchAll(NEXT_QUESTION)) {
    if (++count > 8) break
    if (turn.slice(0, match.index).trim() !== "") yield turn.slice(0, match.index)
  }
  yield turn
}

/**
 * Whether an answer does what its instructions say: the checks of IFEval (Zhou et al., 2023), by
 * the names and arguments that its rows have. Words and sentences are split as Unicode's rules do
 * (UAX 29), where IFEval uses NLTK; of an answer's language nothing is decided.
 */
import { InputError } from "../../errors.ts"
import { isObject, type JsonObject, parseJson } from "../../formats/json.ts"
import { type JudgedItem, plainVerdict, type SuiteJudge } from "./judge.ts"

const VERSION = "instructions-1"

/** What a suite of instructions writes as gold, as JSON. */
export interface InstructionGold {
  readonly instructions: readonly { readonly id: string; readonly args: JsonObject }[]
}

/** undefined: cannot be decided here. */
type Check = (answer: string, args: Arguments) => boolean | undefined

class Arguments {
  readonly #id: string
  readonly #given: JsonObject
  constructor(id: string, given: JsonObject) {
    this.#id = id
    this.#given = given
  }
  text(key: string): string {
    const value = this.#given[key]
    if (typeof value === "string") return value
    throw new InputError(`${this.#id}: expected ${key} to be a text`)
  }
  texts(key: string): string[] {
    const value = this.#given[key]
    if (Array.isArray(value) && value.every((one) => typeof one === "string")) return value
    throw new InputError(`${this.#id}: expected ${key} to be a list of texts`)
  }
  number(key: string): number {
    const value = this.#given[key]
    if (typeof value === "number") return value
    throw new InputError(`${this.#id}: expected ${key} to be a number`)
  }
  /** `at least` or `less than` the number under `key`. */
  holds(count: number, key: string, relation = "relation"): boolean {
    const wanted = this.number(key)
    const how = this.text(relation)
    if (how === "at least") return count >= wanted
    if (how === "less than") return count < wanted
    throw new InputError(
      `${this.#id}: expected ${relation} to be "at least" or "less than", got "${how}"`,
    )
  }
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
const countOf = (pattern: RegExp, text: string): number => [...text.matchAll(pattern)].length

function segments(text: string, granularity: "word" | "sentence"): string[] {
  const all = [...new Intl.Segmenter("en", { granularity }).segment(text)]
  return all
    .filter((one) => (granularity === "word" ? one.isWordLike : one.segment.trim() !== ""))
    .map(({ segment }) => segment)
}

/** Parts between separators; empty ones at the ends do not count, one in the middle is a fault. */
function parts(text: string, separator: RegExp | string): string[] | undefined {
  const all = text.split(separator).map((part) => part.trim())
  const inner = all.filter((part, i) => part !== "" || (i > 0 && i < all.length - 1))
  return inner.includes("") ? undefined : inner
}

const isUpper = (text: string) => /\p{Lu}/u.test(text) && !/\p{Ll}/u.test(text)
const isLower = (text: string) => /\p{Ll}/u.test(text) && !/\p{Lu}/u.test(text)

function nthParagraphBegins(answer: string, args: Arguments): boolean {
  const paragraphs = answer.split("\n\n")
  const filled = paragraphs.filter((one) => one.trim() !== "").length
  const [nth, wanted] = [args.number("nth_paragraph"), args.number("num_paragraphs")]
  const first = args.text("first_word")
  if (nth > filled || filled !== wanted) return false
  const [word = ""] = (paragraphs[nth - 1] ?? "").trim().split(/\s+/)
  const bare = word.replace(/^['"]+/, "").split(/[.,?!'"]/)[0]!
  return bare.toLowerCase() === first.toLowerCase()
}

function isJson(answer: string): boolean {
  const bare = answer
    .trim()
    .replace(/^```(?:json)?/i, "")
    .replace(/```$/, "")
  try {
    JSON.parse(bare)
    return true
  } catch {
    return false
  }
}

function hasTwoAnswers(answer: string): boolean {
  const two = parts(answer, "******")
  return two?.length === 2 && two[0] !== two[1]
}

/** Something between the first << of a line and its last >>. */
const hasTitle = (line: string): boolean =>
  line.includes("<<") && /[^\s<>]/.test(line.slice(line.indexOf("<<"), line.lastIndexOf(">>") + 2))

function postscript(answer: string, args: Arguments): boolean {
  const marker = args.text("postscript_marker")
  const pattern =
    marker === "P.P.S"
      ? /\s*p\.\s?p\.\s?s.*$/m
      : marker === "P.S."
        ? /\s*p\.\s?s\..*$/m
        : new RegExp(`\\s*${escaped(marker.toLowerCase())}.*$`, "m")
  return pattern.test(answer.toLowerCase())
}

const CHECKS: Readonly<Record<string, Check>> = {
  "keywords:existence": (answer, args) =>
    args.texts("keywords").every((word) => new RegExp(escaped(word), "i").test(answer)),
  "keywords:frequency": (answer, args) =>
    args.holds(countOf(new RegExp(escaped(args.text("keyword")), "gi"), answer), "frequency"),
  "keywords:forbidden_words": (answer, args) =>
    !args
      .texts("forbidden_words")
      .some((word) => new RegExp(`\\b${escaped(word)}\\b`, "i").test(answer)),
  "keywords:letter_frequency": (answer, args) => {
    const letter = args.text("letter").toLowerCase()
    const count = [...answer.toLowerCase()].filter((one) => one === letter).length
    return args.holds(count, "let_frequency", "let_relation")
  },
  "language:response_language": () => undefined,
  "length_constraints:number_sentences": (answer, args) =>
    args.holds(segments(answer, "sentence").length, "num_sentences"),
  "length_constraints:number_paragraphs": (answer, args) =>
    parts(answer, /\s?\*\*\*\s?/)?.length === args.number("num_paragraphs"),
  "length_constraints:number_words": (answer, args) =>
    args.holds(segments(answer, "word").length, "num_words"),
  "length_constraints:nth_paragraph_first_word": nthParagraphBegins,
  "detectable_content:number_placeholders": (answer, args) =>
    countOf(/\[.*?\]/g, answer) >= args.number("num_placeholders"),
  "detectable_content:postscript": postscript,
  "detectable_format:number_bullet_lists": (answer, args) =>
    countOf(/^\s*\*[^*].*$/gm, answer) + countOf(/^\s*-.*$/gm, answer) ===
    args.number("num_bullets"),
  "detectable_format:constrained_response": (answer) =>
    ["yes", "no", "maybe"].some((word) => answer.includes(`My answer is ${word}.`)),
  "detectable_format:number_highlighted_sections": (answer, args) =>
    countOf(/(\*\*?)(?=[^\n*]*[^\s*])[^\n*]+\1/g, answer) >= args.number("num_highlights"),
  "detectable_format:multiple_sections": (answer, args) =>
    answer.split(new RegExp(`\\s?${escaped(args.text("section_spliter"))}\\s?\\d+\\s?`)).length -
      1 >=
    args.number("num_sections"),
  "detectable_format:json_format": isJson,
  "detectable_format:title": (answer) => answer.split("\n").some(hasTitle),
  "combination:two_responses": hasTwoAnswers,
  "combination:repeat_prompt": (answer, args) =>
    answer.trim().toLowerCase().startsWith(args.text("prompt_to_repeat").trim().toLowerCase()),
  "startend:end_checker": (answer, args) =>
    answer
      .trim()
      .replace(/^"+|"+$/g, "")
      .toLowerCase()
      .endsWith(args.text("end_phrase").trim().toLowerCase()),
  "startend:quotation": (answer) => /^"[\s\S]*"$/.test(answer.trim()),
  "change_case:capital_word_frequency": (answer, args) =>
    args.holds(
      segments(answer, "word").filter(isUpper).length,
      "capital_frequency",
      "capital_relation",
    ),
  "change_case:english_capital": isUpper,
  "change_case:english_lowercase": isLower,
  "punctuation:no_comma": (answer) => !answer.includes(","),
}

/**
 * A row's instructions.
 *
 * @throws InputError for one that is not known, or whose arguments it cannot be checked with
 */
export function instructionsOf(row: JsonObject, where: string): InstructionGold {
  const { instruction_id_list: ids, kwargs } = row
  if (!Array.isArray(ids) || ids.length === 0 || !Array.isArray(kwargs))
    throw new InputError(`${where}: expected instruction_id_list and kwargs, two lists`)
  return {
    instructions: ids.map((id, i) => {
      if (typeof id !== "string" || !Object.hasOwn(CHECKS, id)) {
        const known = Object.keys(CHECKS).join(", ")
        throw new InputError(`${where}: unknown instruction ${JSON.stringify(id)}; known: ${known}`)
      }
      const args = isObject(kwargs[i]) ? kwargs[i] : {}
      checkArguments(id, args, where)
      return { id, args }
    }),
  }
}

/** A check reads its arguments whatever the answer is. */
function checkArguments(id: string, args: JsonObject, where: string): void {
  try {
    CHECKS[id]!("an answer", new Arguments(id, args))
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    throw new InputError(`${where}: ${error.message}`)
  }
}

/** Right where every instruction is followed. */
export function instructionJudge(): SuiteJudge {
  const judged = ({ completion, gold }: JudgedItem) => {
    const { instructions } = parseJson(
      gold,
      "a problem's instructions",
    ) as unknown as InstructionGold
    const found = instructions.map(({ id, args }) => ({
      id,
      // an empty answer follows nothing
      follows: completion.trim() !== "" && CHECKS[id]!(completion, new Arguments(id, args)),
    }))
    const broken = found.filter(({ follows }) => follows === false).map(({ id }) => id)
    const open = found.filter(({ follows }) => follows === undefined).map(({ id }) => id)
    const correct = broken.length + open.length === 0
    const reason = correct
      ? "every instruction is followed"
      : broken.length > 0
        ? `not followed: ${broken.join(", ")}`
        : `not decided: ${open.join(", ")}`
    const ids = instructions.map(({ id }) => id).join(", ")
    const verdict = { correct, extracted: completion.slice(0, 200), gold: ids, reason }
    return plainVerdict(verdict, VERSION, correct || broken.length > 0)
  }
  return {
    judge: async (items) => items.map(judged),
    [Symbol.asyncDispose]: async () => {},
  }
}

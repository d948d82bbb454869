/**
 * A loss as people write it, `sg(p) * nll`, read by a grammar of its own: nothing is ever evaluated
 * as code.
 */
import { didYouMean } from "../closest-name.ts"
import { InputError } from "../errors.ts"
import {
  BINARY,
  binary,
  type ComparisonOp,
  constant,
  type Expression,
  REDUCTION,
  reduction,
  topologicalOrder,
  UNARY,
  unary,
  where,
} from "./expression.ts"
import { INPUTS, type Objective, tokenObjective } from "./objective.ts"

const MOST_CHARACTERS = 500
const MOST_NODES = 500
const MOST_NESTED = 50

/**
 * Quantities by the names that the papers give them: the inputs, `p`, `nll`, and `c` for the NLL.
 */
const NAMES: ReadonlyMap<string, Expression> = new Map([
  ...Object.entries(INPUTS),
  ["c", INPUTS.nll],
])

interface FormulaFunction {
  readonly arity: number
  readonly build: (...args: Expression[]) => Expression
}

const detached = (x: Expression) => (x.op === "detach" ? x : x.detach())
const FUNCTIONS: ReadonlyMap<string, FormulaFunction> = new Map<string, FormulaFunction>([
  ...UNARY.filter((op) => op !== "neg").map(
    (op) => [op, { arity: 1, build: (x: Expression) => unary(op, x) }] as const,
  ),
  ["sg", { arity: 1, build: (x) => x.detach() }],
  ["ln", { arity: 1, build: (x) => x.log() }],
  ...BINARY.filter((op) => op === "min" || op === "max").map(
    (op) => [op, { arity: 2, build: (a: Expression, b: Expression) => binary(op, a, b) }] as const,
  ),
  ["clamp", { arity: 3, build: (x, low, high) => x.clamp(low, high) }],
  ["where", { arity: 3, build: (condition, a, b) => where(condition, a, b) }],
  // Their arguments carry no gradient, written or not.
  ...REDUCTION.map(
    (op) => [op, { arity: 1, build: (x: Expression) => reduction(op, detached(x)) }] as const,
  ),
])

const COMPARISONS: Readonly<Record<string, ComparisonOp>> = {
  "<": "lt",
  "<=": "le",
  ">": "gt",
  ">=": "ge",
  "==": "eq",
}

interface Token {
  readonly kind: "number" | "name" | "sign" | "end"
  readonly text: string
  /** From 0. */
  readonly at: number
}

const TOKEN =
  /\s*(?:(?<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?<name>[A-Za-z_]\w*)|(?<sign><=|>=|==|[-+*/^(),<>]))/y

function wrong(at: number, expected: string, got: string): never {
  throw new InputError(`formula, column ${at + 1}: expected ${expected}, got ${got}`)
}

const shown = ({ kind, text }: Token) => (kind === "end" ? "the end" : `"${text}"`)

function tokens(text: string): Token[] {
  const found: Token[] = []
  TOKEN.lastIndex = 0
  while (text.slice(TOKEN.lastIndex).trim() !== "") {
    const from = TOKEN.lastIndex
    const { groups } = TOKEN.exec(text) ?? {}
    if (!groups) {
      const at = from + text.slice(from).search(/\S/)
      const sign = [...text.slice(at)][0]!
      wrong(at, "a number, a name or one of + - * / ^ ( ) , < >", `"${sign}"`)
    }
    const [kind, part] = Object.entries(groups).find(([, value]) => value !== undefined)!
    found.push({ kind: kind as Token["kind"], text: part, at: TOKEN.lastIndex - part.length })
  }
  return [...found, { kind: "end", text: "", at: text.length }]
}

/** Recursive descent: comparison, sum, product (a space multiplies too), sign, power, atom. */
class Parser {
  readonly #tokens: readonly Token[]
  #next = 0
  #nested = 0

  constructor(text: string) {
    this.#tokens = tokens(text)
  }

  whole(): Expression {
    const result = this.#comparison()
    const after = this.#peek()
    if (after.kind !== "end") wrong(after.at, "an operator or the end", shown(after))
    return result
  }

  #peek(): Token {
    return this.#tokens[this.#next]!
  }
  /** The sign that comes next if it is one of these. */
  #taken(...signs: readonly string[]): string | undefined {
    const { kind, text } = this.#peek()
    if (kind !== "sign" || !signs.includes(text)) return undefined
    this.#next++
    return text
  }
  #expect(sign: string): void {
    const next = this.#peek()
    if (!this.#taken(sign)) wrong(next.at, `"${sign}"`, shown(next))
  }

  #comparison(): Expression {
    const left = this.#sum()
    const sign = this.#taken(...Object.keys(COMPARISONS))
    return sign ? binary(COMPARISONS[sign]!, left, this.#sum()) : left
  }

  #sum(): Expression {
    let left = this.#product()
    for (;;) {
      const sign = this.#taken("+", "-")
      if (!sign) return left
      left = binary(sign === "+" ? "add" : "sub", left, this.#product())
    }
  }

  #product(): Expression {
    let left = this.#signed()
    for (;;) {
      const sign = this.#taken("*", "/")
      const { kind, text } = this.#peek()
      const beside = kind === "number" || kind === "name" || text === "("
      if (!sign && !beside) return left
      left = binary(sign === "/" ? "div" : "mul", left, this.#signed())
    }
  }

  #signed(): Expression {
    return this.#deeper(() => {
      if (this.#taken("+")) return this.#signed()
      if (this.#taken("-")) return negative(this.#signed())
      return this.#power()
    })
  }

  #power(): Expression {
    const base = this.#atom()
    return this.#taken("^") ? binary("pow", base, this.#signed()) : base
  }

  #atom(): Expression {
    const token = this.#peek()
    if (this.#taken("(")) {
      const inner = this.#comparison()
      this.#expect(")")
      return inner
    }
    if (token.kind === "end" || token.kind === "sign") {
      wrong(token.at, 'a number, a name or "("', shown(token))
    }
    this.#next++
    if (token.kind === "number") return number(token)
    const called = FUNCTIONS.get(token.text)
    if (called) return this.#call(token, called)
    const quantity = NAMES.get(token.text)
    if (quantity) return quantity
    const known = [...NAMES.keys(), ...FUNCTIONS.keys()]
    const meant = didYouMean(token.text, known)
    wrong(
      token.at,
      "a quantity or a function",
      `"${token.text}"${meant || `; known: ${known.join(", ")}`}`,
    )
  }

  #call({ text, at }: Token, { arity, build }: FormulaFunction): Expression {
    this.#expect("(")
    const args = [this.#comparison()]
    while (this.#taken(",")) args.push(this.#comparison())
    this.#expect(")")
    if (args.length !== arity) wrong(at, `${arity} arguments of ${text}`, `${args.length}`)
    return build(...args)
  }

  #deeper(read: () => Expression): Expression {
    if (++this.#nested > MOST_NESTED) {
      wrong(this.#peek().at, `at most ${MOST_NESTED} parts inside each other`, "more")
    }
    const result = read()
    this.#nested--
    return result
  }
}

function number({ text, at }: Token): Expression {
  const value = Number(text)
  return Number.isFinite(value) ? constant(value) : wrong(at, "a finite number", `"${text}"`)
}

const negative = (x: Expression) => (x.op === "constant" ? constant(-x.value!) : x.negate())

/**
 * The expression that a formula stands for. Quantities: `p`, `nll` (or `c`), `logp`, `entropy`,
 * `progress` and the other inputs. Operators: + - * / ^, comparisons (1 or 0); a space multiplies.
 * Functions: `sg` (or `detach`: no gradient passes), `exp`, `ln` (or `log`), `sqrt`, `sigmoid`,
 * `min`, `max`, `clamp(x, low, high)`, `where(condition, a, b)` and the reductions over sequences.
 *
 * @throws InputError naming the column, what was expected and what came
 */
export function formulaExpression(text: string): Expression {
  if (text.length > MOST_CHARACTERS) {
    throw new InputError(`formula: at most ${MOST_CHARACTERS} characters, got ${text.length}`)
  }
  const expression = new Parser(text).whole()
  const nodes = topologicalOrder([expression]).length
  if (nodes > MOST_NODES) throw new InputError(`formula: at most ${MOST_NODES} parts, got ${nodes}`)
  return expression
}

/**
 * The objective whose loss per token a formula is; `sg(p) * nll` is DFT.
 *
 * @throws InputError as `formulaExpression`, and where no gradient reaches the model
 */
export function formulaObjective(name: string, text: string): Objective {
  const expression = formulaExpression(text)
  return tokenObjective(name, () => expression)
}

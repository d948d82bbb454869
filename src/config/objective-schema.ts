/** The `objective` of the config as JSON Schema: made from the objectives' own table. */
import {
  type Definition,
  FAMILY,
  type MODIFIERS,
  NORMALIZATION_IN_WORDS,
  NORMALIZATIONS,
  type Normalization,
  normalizationsOf,
  type ObjectiveParameter,
} from "../objectives/index.ts"

/** In the order of their table. */
export const OBJECTIVES: readonly string[] = Object.keys(FAMILY)

type Node = Record<string, unknown>

const share = (description: string, extra: Node = {}): Node => ({
  type: "number",
  minimum: 0,
  maximum: 1,
  description,
  ...extra,
})

const MODIFIER_NODES: { readonly [Name in (typeof MODIFIERS)[number]]: Node } = {
  weight_floor: share("Token weights are at least this."),
  weight_ceiling: {
    type: "number",
    exclusiveMinimum: 0,
    description: "Token weights are at most this.",
  },
  ramp: {
    type: "object",
    description: "SFT first, then a linear blend into the objective.",
    properties: {
      start: share("Share of the run trained as plain SFT.", { default: 0.2 }),
      end: share("Share of the run after which the objective has its full part.", { default: 0.3 }),
    },
    additionalProperties: false,
  },
  keep_special: {
    type: "boolean",
    description: "End-of-turn and template tokens keep weight 1.",
    default: false,
  },
}

const normalizationNode = (allowed: readonly Normalization[], fallback: Normalization): Node => ({
  type: "string",
  enum: [...allowed],
  description: `What the loss is. ${allowed.map((name) => `${name}: ${NORMALIZATION_IN_WORDS[name]}`).join("; ")}.`,
  default: fallback,
})

function parameterNode(parameter: ObjectiveParameter): Node {
  const { meaning: description, default: fallback } = parameter
  if (parameter.kind === "choice") {
    return { type: "string", enum: [...parameter.choices], description, default: fallback }
  }
  if (parameter.kind === "flag") {
    return { type: "boolean", description, ...(fallback === null ? {} : { default: fallback }) }
  }
  // a default of NaN is none: the objective leaves the term out
  const given = Number.isNaN(fallback) ? {} : { default: fallback }
  const { min, max } = parameter
  const bounds = { minimum: min, ...(Number.isFinite(max) ? { maximum: max } : {}) }
  return { type: "number", description, ...bounds, ...given }
}

function branch(definition: Definition): Node {
  const { name, formula, parameters, modifiers } = definition
  const allowed = normalizationsOf(definition)
  const own = Object.entries(parameters).map(([key, parameter]) => [key, parameterNode(parameter)])
  return {
    type: "object",
    description: formula,
    properties: {
      name: { type: "string", const: name, description: formula },
      normalization: normalizationNode(allowed, allowed[0]),
      ...Object.fromEntries(own),
      ...Object.fromEntries(modifiers.map((modifier) => [modifier, MODIFIER_NODES[modifier]])),
    },
    required: ["name"],
    additionalProperties: false,
  }
}

/** One branch an objective, told apart by `name`; a name alone; an expression of one's own. */
export function objectiveJsonSchema(expression: Node): Node {
  const definitions = OBJECTIVES.map((name) => FAMILY[name as keyof typeof FAMILY])
  return {
    description: "What is minimised: a name, or { name, parameters, modifiers }.",
    default: "dft",
    anyOf: [
      { type: "string", enum: [...OBJECTIVES], description: "A name alone." },
      ...definitions.map((definition) => branch(definition as unknown as Definition)),
      {
        type: "object",
        description: "An objective of your own (docs/objectives.md).",
        properties: {
          name: { type: "string", description: "A name for your own expression." },
          normalization: normalizationNode(NORMALIZATIONS, "tokens"),
          expression,
        },
        required: ["name", "expression"],
        additionalProperties: false,
      },
    ],
  }
}

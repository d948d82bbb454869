/**
 * The generalised Jensen-Shannon divergence over the vocabulary, in the head's graph (GKD, arXiv
 * 2306.13649).
 */
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"
import { graph, type NdArray, ndarray } from "../../src/graph/index.ts"
import { headBackward } from "../../src/models/decoder/head.ts"
import { modelConfig } from "../../src/models/families/model-config.ts"
import { objectiveFromConfig } from "../../src/objectives/index.ts"
import { interpret } from "../../src/runtime/index.ts"
import { objectiveHead } from "../../src/train/objective-head.ts"

interface Case {
  readonly beta: number
  readonly temperature: number
  readonly loss: number
  readonly d_student_logits: readonly (readonly (readonly number[])[])[]
}
const path = fileURLToPath(new URL("../../golden/rl/rl.json", import.meta.url))
const { inputs, distillation } = JSON.parse(readFileSync(path, "utf8")) as {
  readonly inputs: { readonly distillation: Readonly<Record<"student" | "teacher", number[][][]>> }
  readonly distillation: readonly Case[]
}
const [student, teacher] = [inputs.distillation.student[0]!, inputs.distillation.teacher[0]!]

const shape = (hidden_size: number, vocab_size: number) =>
  modelConfig({
    ...{ model_type: "qwen2", hidden_size, vocab_size, intermediate_size: 8 },
    ...{ num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1, head_dim: 4 },
    ...{ rms_norm_eps: 1e-30, tie_word_embeddings: false, max_position_embeddings: 8 },
  }).shape
const ones = (n: number) => ndarray([n], new Float64Array(n).fill(1))

/**
 * Hidden states and a head that give these logits: token t's state is the unit vector t, which the
 * norm makes sqrt(C) long. Rows behind `logits` stand for tokens that the policy does not know.
 */
function given(logits: readonly (readonly number[])[], C: number, V: number) {
  const N = logits.length
  const states = new Float64Array(N * C)
  logits.forEach((_, t) => {
    states[t * C + t] = 1
  })
  const head = new Float64Array(V * C).fill(7)
  logits.forEach((row, t) => {
    row.forEach((z, v) => {
      head[v * C + t] = z / Math.sqrt(C)
    })
  })
  return { hidden: ndarray([N, C], states), head: ndarray([V, C], head) }
}

function backward({ beta, temperature }: Pick<Case, "beta" | "temperature">, mine = student) {
  const [C, V, N, wide, known] = [2, 4, 2, 3, 6]
  const { settings } = objectiveHead(objectiveFromConfig({ name: "distill", beta }), {
    temperature,
  })
  const made = graph(
    "head",
    headBackward(
      { shape: shape(C, V), referenceShape: shape(wide, known), ...settings },
      { norm: false, head: true },
    ),
  )
  const [own, theirs] = [given(mine, C, V), given(teacher, wide, known)]
  const feeds: Record<string, NdArray> = {
    ...{ hidden: own.hidden, "head.weight": own.head, "norm.weight": ones(C) },
    ...{ "ref.hidden": theirs.hidden, "ref.head.weight": theirs.head },
    ...{
      "ref.norm.weight": ones(wide),
      "acc.head.weight": ndarray([V, C], new Float64Array(V * C)),
    },
    labels: ndarray([N, 1], Float64Array.of(2, 1)),
    scale: ndarray([N, 1], Float64Array.of(0.5, 0.5)),
  }
  const wanted = Object.entries(feeds).filter(([name]) => made.inputs.some((i) => i.name === name))
  const out = interpret(made, Object.fromEntries(wanted))
  const { data } = out["grad.head.weight"]!
  return {
    loss: (out.loss!.data[0]! + out.loss!.data[1]!) / 2,
    // the head's gradient is that of the logits times the state, sqrt(C) long
    dz: mine.map((row, t) => row.map((_, v) => data[v * C + t]! / Math.sqrt(C))),
  }
}

test.each(distillation)(
  "beta $beta at T = $temperature is TRL's, a wider teacher's with more tokens",
  (one) => {
    const found = backward(one)
    expect(found.loss).toBeCloseTo(one.loss, 12)
    found.dz.forEach((row, t) => {
      row.forEach((slope, v) => {
        expect(slope).toBeCloseTo(one.d_student_logits[0]![t]![v]!, 12)
      })
    })
  },
)

test.each([0, 0.3, 1])("beta %d: a student that is the teacher is where nothing pulls", (beta) => {
  const found = backward({ beta, temperature: 1 }, teacher)
  expect(found.loss).toBeCloseTo(0, 12)
  for (const slope of found.dz.flat()) expect(slope).toBeCloseTo(0, 12)
})

test("probabilities that are 0 in float64 make no NaN", () => {
  for (const beta of [0, 0.5, 1]) {
    const { loss, dz } = backward({ beta, temperature: 1 }, [
      [0, -900, 900, 0],
      [900, 0, 0, -900],
    ])
    expect([loss, ...dz.flat()].every(Number.isFinite), String(beta)).toBe(true)
  }
})

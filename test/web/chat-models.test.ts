import { expect, test } from "vitest"
import { modelGroups, modelsOfRun } from "../../web/src/pages/chat-models.ts"

const IDS = ["sums", "sums@100", "sums@20", "odd@5", "odd@5@20", "org/base", "model@7"]
const RUNS = new Set(["sums", "odd@5"])

test("checkpoints stand with their run, also of a run whose name looks like one", () => {
  expect(modelGroups(IDS, RUNS)).toEqual([
    {
      label: "not fine-tuned here",
      models: [
        { id: "org/base", words: "org/base" },
        { id: "model@7", words: "model@7" },
      ],
    },
    {
      label: "sums",
      models: [
        { id: "sums", words: "sums" },
        { id: "sums@100", words: "sums at step 100" },
        { id: "sums@20", words: "sums at step 20" },
      ],
    },
    {
      label: "odd@5",
      models: [
        { id: "odd@5", words: "odd@5" },
        { id: "odd@5@20", words: "odd@5 at step 20" },
      ],
    },
  ])
})

test("a run is talked to beside what it was trained from and its first checkpoint", () => {
  expect(modelsOfRun("sums", IDS, "org/base")).toEqual(["org/base", "sums@20", "sums"])
  expect(modelsOfRun("sums", IDS, "/models/org/base")).toEqual(["org/base", "sums@20", "sums"])
  expect(modelsOfRun("sums", IDS, "elsewhere")).toEqual(["sums@20", "sums"])
  expect(modelsOfRun("none", IDS, null)).toEqual([])
})

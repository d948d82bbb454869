import { readFileSync } from "node:fs"
import { afterAll, expect, test } from "vitest"
import { openDevice } from "../../src/runtime/node.ts"
import { GOLDEN } from "./golden-run.ts"
import { CASES, trainingGraphs } from "./recorded-graphs.ts"

const device = await openDevice({ device: "cpu", threads: 1 })
afterAll(() => device.release())
const golden = JSON.parse(readFileSync(`${GOLDEN}training-graphs.json`, "utf8")) as Readonly<
  Record<string, unknown>
>

// A graph that is meant to change: npx tsx golden/training-graphs.ts
test.each(CASES)("the ONNX bytes of training %s (%s) are the committed ones", async (...of) => {
  expect(await trainingGraphs(device, ...of)).toEqual(golden[of.join(": ")])
})

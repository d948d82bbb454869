import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"
import type { NoiseConfig } from "../../src/config/index.ts"
import { noised } from "../../src/data/noise.ts"
import { prepareData } from "../../src/data/prepare.ts"
import { rowReading } from "../../src/data/rows/index.ts"

const rowsOf = (values: readonly unknown[], purpose: "supervised" | "labels" | "preference") =>
  values.map((value, i) => ({
    line: i + 1,
    reading: rowReading(value, { format: "auto", purpose, where: `rows.jsonl:${i + 1}` }),
  }))

const MODEL = fileURLToPath(new URL("../../demo/model", import.meta.url))

const all = (kind: NoiseConfig["kind"]): NoiseConfig => ({ kind, share: 1, seed: 0 })
const completion = (text: string) => ({ prompt: "q", completion: text })

function wronged(kind: NoiseConfig["kind"], texts: readonly string[]) {
  const rows = rowsOf(texts.map(completion), "supervised")
  return noised(rows, all(kind), "rows.jsonl").map(({ note, reading }) => ({
    note,
    text: (reading.example as { completion: string }).completion,
  }))
}

describe("wrong-answers", () => {
  it("changes the final number, wherever its line says it, and nothing before", () => {
    const [row] = wronged("wrong-answers", ["48/2 = 24, 24 + 48 = 72\n#### 72"])
    expect(row!.note).toBe("noise")
    expect(row!.text).toMatch(/^48\/2 = 24, 24 \+ 48 = 72\n#### \d+$/)
    expect(row!.text).not.toMatch(/#### 72$/)
    const [boxed] = wronged("wrong-answers", ["So x = 7. The answer is \\boxed{7}, that is 7 cm2."])
    const numbers = boxed!.text.match(/x = (\d+).*boxed\{(\d+)\}.*is (\d+) cm2/)!
    expect(new Set(numbers.slice(1)).size).toBe(1)
    expect(numbers[1]).not.toBe("7")
  })

  it("keeps how a number is written", () => {
    const [money, negative, small] = wronged("wrong-answers", ["$1,234.50", "-12", "0.5"])
    expect(money!.text).toMatch(/^\$(\d,)?\d{3}\.\d\d$/)
    expect(negative!.text).toMatch(/^-?\d+$/)
    expect(small!.text).toMatch(/^\d\.\d$/)
    for (const { note } of [money!, negative!, small!]) expect(note).toBe("noise")
  })

  it("changes numbers that float64 cannot hold, and writes them as numbers", () => {
    const longs = [
      "9".repeat(400),
      "3.14159265358979323846",
      `-0.${"1".repeat(150)}`,
      `0.${"0".repeat(30)}1`,
      "1,000,000,000,000,000,000,000",
      "1000000000000000000000.25",
      "1,234.5678",
    ]
    for (const [i, { note, text }] of wronged("wrong-answers", longs).entries()) {
      expect(note, text).toBe("noise")
      expect(text).not.toBe(longs[i])
      expect(text).toMatch(/^-?\d+(,\d{3})*(\.\d+)?$/)
      expect(text.split(".")[1]?.length).toBe(longs[i]!.split(".")[1]?.length)
      expect(text.startsWith("-")).toBe(longs[i]!.startsWith("-"))
    }
    const [step] = wronged("wrong-steps", [`1 = ${"7".repeat(40)}, = 2`])
    expect(step!.text).toMatch(/^1 = \d{40,41}, = 2$/)
  })

  it("takes the last number, not digits within a word after it", () => {
    const [row] = wronged("wrong-answers", ["It is 5.\nThat holds for x5 too"])
    expect(row!.text).toMatch(/^It is [^5]\.\nThat holds for x5 too$/)
  })

  it("says of a row without a number that it is as it was", () => {
    expect(wronged("wrong-answers", ["yes", "H2O"])).toEqual([
      { note: "noise-impossible", text: "yes" },
      { note: "noise-impossible", text: "H2O" },
    ])
  })
})

describe("wrong-steps", () => {
  it("changes a result on the way, in GSM8K's calculator too, and never the final one", () => {
    const [plain] = wronged("wrong-steps", ["2 + 3 = 5, 5 * 4 = 20"])
    expect(plain!.text).toMatch(/^2 \+ 3 = (?!5,)\d+, 5 \* 4 = 20$/)
    const [marked] = wronged("wrong-steps", ["<<48/2=24>>24 clips, then <<48+24=72>>72\n#### 72"])
    const [, a, b] = marked!.text.match(/^<<48\/2=(\d+)>>(\d+) clips, then <<48\+24=72>>72/)!
    expect(a).toBe(b)
    expect(a).not.toBe("24")
    expect(wronged("wrong-steps", ["the answer is 5"])[0]!.note).toBe("noise-impossible")
  })
})

describe("swapped-labels", () => {
  it("gives a row another row's answer", () => {
    const rows = wronged("swapped-labels", ["cat", "cat", "dog"])
    expect(rows.map(({ text }) => text)).toEqual(["dog", "dog", "cat"])
    expect(wronged("swapped-labels", ["cat", "cat"]).map(({ note }) => note)).toEqual([
      "noise-impossible",
      "noise-impossible",
    ])
  })

  it("exchanges the sides of a pair, and turns a label round", () => {
    const pair = rowsOf([{ prompt: "q", chosen: "a", rejected: "b" }], "preference")
    const [swapped] = noised(pair, all("swapped-labels"), "rows.jsonl")
    expect(swapped!.reading.example).toMatchObject({ chosen: "b", rejected: "a" })
    const label = rowsOf([{ prompt: "q", completion: "a", label: true }], "labels")
    expect(noised(label, all("swapped-labels"), "rows.jsonl")[0]!.reading.value).toBe(0)
  })
})

describe("the share", () => {
  const texts = Array.from({ length: 1000 }, (_, i) => `${i} + 1 = ${i + 1}`)
  const rows = rowsOf(texts.map(completion), "supervised")
  const changed = (noise: NoiseConfig, some = rows, path = "a/rows.jsonl") =>
    noised(some, noise, path)
      .map(({ note }, i) => (note ? some[i]!.line : 0))
      .filter((line) => line > 0)

  it("is met, by the seed, whatever stands beside a row", () => {
    const noise: NoiseConfig = { kind: "wrong-answers", share: 0.3, seed: 1 }
    const lines = changed(noise)
    expect(lines.length).toBeGreaterThan(255)
    expect(lines.length).toBeLessThan(345)
    expect(changed(noise, rows, "b/rows.jsonl")).toEqual(lines)
    expect(changed(noise, rows.slice(500))).toEqual(lines.filter((line) => line > 500))
    expect(changed({ ...noise, seed: 2 })).not.toEqual(lines)
    expect(changed({ ...noise, share: 0 })).toEqual([])
  })

  it("is met to the row where it is exact, of the rows that can be made wrong", async () => {
    const folder = mkdtempSync(join(tmpdir(), "dftune-noise-"))
    const files = ["a.jsonl", "b.jsonl"].map((name) => join(folder, name))
    const texts = [...Array.from({ length: 64 }, (_, i) => `${i} + 1 = ${i + 1}`), "no number"]
    const written = texts.map((text) => `${JSON.stringify(completion(text))}\n`).join("")
    for (const file of files) writeFileSync(file, written)
    const prepared = async (noise: object, change: object = {}, path = join(folder, "*.jsonl")) => {
      const all = { kind: "wrong-answers", share: 0.3, seed: 1, ...noise } as NoiseConfig
      const sources = [{ path, weight: 1, noise: all }]
      const options = { sources, tokenizer: MODEL, cache: join(folder, "cache"), ...change }
      const { lints, manifest } = await prepareData(options)
      return { noisy: lints.find(({ code }) => code === "noise")?.count, manifest }
    }
    for (const seed of [1, 2, 3]) expect((await prepared({ exact: true, seed })).noisy).toBe(38)
    expect((await prepared({ exact: true, share: 1 })).noisy).toBe(128)
    expect((await prepared({ exact: true, share: 0 })).noisy).toBe(undefined)
    expect((await prepared({ exact: true }, {}, files[0])).noisy).toBe(19)
    // threads, and rows that are left out: both files say the same
    const [one, three] = await Promise.all([
      prepared({ exact: true }, { cache: join(folder, "one") }),
      prepared({ exact: true }, { workers: 2, cache: join(folder, "three") }),
    ])
    expect(three.manifest.rows_sha256).toBe(one.manifest.rows_sha256)
    const leaveOut = { near_duplicates: 0.99, decontaminate: null, benchmarks: [] }
    expect((await prepared({ exact: true, share: 0.5 }, { leaveOut })).noisy).toBe(32)
  })
})

import { expect, test } from "vitest"
import { inAnyOrder, strayedSettings } from "../../../src/commands/shell/any-order.ts"

test.each([
  ["train --set a=1 b.c=2 c.yaml", "train --set a=1 --set b.c=2 c.yaml"],
  ["train c.yaml --set a=1 --set b=2", "train c.yaml --set a=1 --set b=2"],
  ["train --resume c.yaml", "train c.yaml --resume"],
  ["train --resume c.yaml --json", "train c.yaml --json --resume"],
  ["train c.yaml --resume", "train c.yaml --resume"],
  [
    "train --resume runs/a/checkpoints/step-000001 c.yaml",
    "train --resume runs/a/checkpoints/step-000001 c.yaml",
  ],
  ["train --resume runs/gone", "train runs/gone --resume"],
  ["train --json --resume runs/gone --set a=1", "train --json runs/gone --set a=1 --resume"],
  ["train runs/a --resume step-000001", null],
  ["train --set", null],
  ["train --set nonsense c.yaml", null],
  [
    "launch torchrun --resume c.yaml -- --set a=1 b=2",
    "launch torchrun c.yaml --resume -- --set a=1 b=2",
  ],
  ["generate m --prompt a=1 b.yaml", null],
])("%s", (given, expected) => {
  expect(inAnyOrder(given.split(" ")).join(" ")).toBe(expected ?? given)
})

test.each([
  ["train c.yaml seed=1", ["seed=1"]],
  ["train --set a=1 --json b.c=2 c.yaml", ["b.c=2"]],
  ["train --set a=1 b=2 c.yaml d.yaml", []],
])("settings that no --set takes are found: %s", (given, expected) => {
  expect(strayedSettings(given.split(" "))).toEqual(expected)
})

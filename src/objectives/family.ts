/** Every objective that a config can name: one file each, one line here. */
import { alpha } from "./alpha.ts"
import { asft, sftKl } from "./asft.ts"
import type { Definition } from "./definition.ts"
import { dft } from "./dft.ts"
import { dpo } from "./dpo.ts"
import { eaft } from "./eaft.ts"
import { focal } from "./focal.ts"
import { idft } from "./idft.ts"
import { iwSft } from "./iw-sft.ts"
import { luffy } from "./luffy.ts"
import { mix } from "./mix.ts"
import { power } from "./power.ts"
import { grpo, ppo } from "./ppo.ts"
import { psft } from "./psft.ts"
import { rft, sft } from "./sft.ts"
import { talr } from "./talr.ts"
import { threshold } from "./threshold.ts"

export const FAMILY = {
  sft,
  dft,
  power,
  alpha,
  threshold,
  mix,
  focal,
  luffy,
  eaft,
  talr,
  idft,
  asft,
  "sft-kl": sftKl,
  "iw-sft": iwSft,
  psft,
  dpo,
  rft,
  grpo,
  ppo,
} as const

export type ObjectiveName = keyof typeof FAMILY

/** The definition of `name`, or undefined. Own keys only: names come from users. */
export function definitionOf(name: string): Definition | undefined {
  return Object.hasOwn(FAMILY, name)
    ? (FAMILY[name as ObjectiveName] as unknown as Definition)
    : undefined
}

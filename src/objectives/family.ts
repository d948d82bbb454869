/** Every objective that a config can name: one file each, one line here. */
import { alpha } from "./alpha.ts"
import { asft, sftKl } from "./asft.ts"
import type { Definition } from "./definition.ts"
import { dft } from "./dft.ts"
import { distill, selfDistill } from "./distill.ts"
import { dpo } from "./dpo.ts"
import { eaft } from "./eaft.ts"
import { focal } from "./focal.ts"
import { chord, dftRl, hpt, luffyRl, prefixRft, rlPlus, srft } from "./hybrids.ts"
import { idft } from "./idft.ts"
import { iwSft } from "./iw-sft.ts"
import { kto } from "./kto.ts"
import { luffy } from "./luffy.ts"
import { mix } from "./mix.ts"
import { orpo } from "./orpo.ts"
import { power } from "./power.ts"
import { dapo, drGrpo, grpo, gspo, ppo } from "./ppo.ts"
import { psft } from "./psft.ts"
import { cispo, reinforce, reinforcePlusPlus, rloo, sapo } from "./reinforce.ts"
import { rewardModel } from "./reward-model.ts"
import { offlinePg, rwr } from "./rewarded.ts"
import { rft, sft } from "./sft.ts"
import { cpo, simpo } from "./simpo.ts"
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
  rft,
  dpo,
  simpo,
  cpo,
  orpo,
  kto,
  rwr,
  "offline-pg": offlinePg,
  reward: rewardModel,
  reinforce,
  rloo,
  "reinforce++": reinforcePlusPlus,
  grpo,
  "dr-grpo": drGrpo,
  dapo,
  gspo,
  cispo,
  sapo,
  ppo,
  "luffy-rl": luffyRl,
  "rl-plus": rlPlus,
  srft,
  chord,
  hpt,
  "prefix-rft": prefixRft,
  "dft-rl": dftRl,
  distill,
  "self-distill": selfDistill,
} as const

export type ObjectiveName = keyof typeof FAMILY

/** The definition of `name`, or undefined. Own keys only: names come from users. */
export function definitionOf(name: string): Definition | undefined {
  return Object.hasOwn(FAMILY, name)
    ? (FAMILY[name as ObjectiveName] as unknown as Definition)
    : undefined
}

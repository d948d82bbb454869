import { existsSync } from "node:fs"
import { basename, dirname, extname, join, resolve } from "node:path"
import { z } from "zod"
import { type ConfigProblem, type KeyPath, problems } from "../config/issues.ts"
import {
  atHome,
  type ConfigSource,
  configFrom,
  foundPath,
  readSource,
} from "../config/load-config.ts"
import { fail, keysBelow, type SchemaNode } from "../config/parse-config.ts"
import type { Config } from "../config/resolve-config.ts"
import { InputError } from "../errors.ts"
import { suiteFile } from "../evaluate/index.ts"
import { isObject } from "../formats/json.ts"
import { checkOutputFolder } from "../host/output-place.ts"
import { statOf } from "../host/stat.ts"
import type { Settings } from "./arms.ts"
import { type Design, designOf, SEED } from "./design.ts"
import { type StudyFields, studyFields } from "./study-schema.ts"

export interface Study {
  readonly name: string
  /** The file. */
  readonly path: string
  /** Where everything of it lies; absolute. */
  readonly folder: string
  readonly fields: StudyFields
  readonly design: Design
  /** The config of a run. @throws InputError naming the axis where a value is wrong */
  readonly configOf: (settings: Settings, outputDir: string) => Config
}

const studyJsonSchema = () => z.toJSONSchema(studyFields, { io: "input" }) as SchemaNode

/**
 * Reads a study: YAML, JSON or a module, as a config is. Every run's config is checked.
 *
 * @throws InputError with file, line and column
 */
export async function loadStudy(path: string): Promise<Study> {
  if (!existsSync(path)) {
    throw new InputError(
      `${path}: no such study; expected a YAML file with arms, seeds and evaluations (docs/studies.md)`,
    )
  }
  if (statOf(path)?.isDirectory()) {
    throw new InputError(`${path}: expected the study's YAML file, got a folder`)
  }
  const source = await readSource(path)
  if (isObject(source.value) && source.value.model !== undefined) {
    throw new InputError(
      `${path}: is a config, not a study; a study names it, config: ${basename(path)} (docs/studies.md)`,
    )
  }
  const parsed = studyFields.safeParse(source.value)
  if (!parsed.success) {
    const known = (key: KeyPath) => keysBelow(studyJsonSchema(), key)
    fail(problems(parsed.error.issues, source.value, known), source.locate)
  }
  const folder = dirname(resolve(path))
  const fields = withPaths(parsed.data, folder)
  const base = await baseSource(fields.config, { source, folder })
  const { seed } = (isObject(base.source.value) ? base.source.value : {}) as { seed?: unknown }
  const { design, problems: found } = designOf(fields, seed)
  if (found.length > 0) {
    fail(
      found.map((one): ConfigProblem => ({ ...one, at: "value" })),
      source.locate,
    )
  }
  const name = fields.name ?? basename(path).replace(/\.[^.]*$/, "")
  const study: Study = {
    name,
    path: resolve(path),
    folder: resolve(atHome(fields.output_dir ?? join("runs", name))),
    fields,
    design,
    configOf: (settings, outputDir) => configOf(base, { settings, outputDir, path }),
  }
  checkStudy(study)
  return study
}

interface BaseConfig {
  readonly source: ConfigSource
  readonly folder: string
}

async function baseSource(
  config: StudyFields["config"],
  { source, folder }: BaseConfig,
): Promise<BaseConfig> {
  if (typeof config === "string") {
    return { source: await readSource(config), folder: dirname(resolve(config)) }
  }
  const locate: ConfigSource["locate"] = (key, at) => source.locate(["config", ...key], at)
  return { source: { value: config, locate }, folder }
}

function configOf(
  { source, folder }: BaseConfig,
  { settings, outputDir, path }: { settings: Settings; outputDir: string; path: string },
): Config {
  const set = Object.entries({ ...settings, output_dir: outputDir }).map(
    ([key, value]) => `${key}=${JSON.stringify(value)}`,
  )
  try {
    return configFrom(source, { set, folder })
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    throw new InputError(error.message.replaceAll(/^--set /gm, `${path}: of the axes, `))
  }
}

/** Files are looked for in the working directory, then beside the study. */
function withPaths(fields: StudyFields, folder: string): StudyFields {
  const asked = <T extends { readonly suite: string; readonly suite_dir?: string | undefined }>(
    one: T,
  ): T => ({
    ...one,
    suite: suiteIn(one.suite, folder),
    ...(one.suite_dir === undefined ? {} : { suite_dir: foundPath(one.suite_dir, folder) }),
  })
  return {
    ...fields,
    config: typeof fields.config === "string" ? foundPath(fields.config, folder) : fields.config,
    evaluations: fields.evaluations.map(asked),
    ...(fields.choose === undefined ? {} : { choose: asked(fields.choose) }),
    losses: fields.losses.map((one) => ({
      ...one,
      data: [one.data].flat().map((file) => foundPath(file, folder)),
    })),
  }
}

/** A suite by name as it is; of `exact:FILE` and its like the file is looked for. */
function suiteIn(suite: string, folder: string): string {
  const { path } = suiteFile(suite)
  if (!/\.\w+$/.test(extname(path))) return suite
  return suite.slice(0, suite.length - path.length) + foundPath(path, folder)
}

/** Checks every run's config and that nothing the study reads lies where it writes. */
function checkStudy({ folder, design, configOf, fields }: Study): void {
  const reads = new Map<string, string>()
  for (const { set, seed } of design.cells) {
    const settings = { ...set, ...(seed === null ? {} : { [SEED]: seed }) }
    const { model, data } = configOf(settings, join(folder, "cells", "check", "run"))
    reads.set(model, "the model")
    for (const { path } of [...data.train, ...data.eval]) reads.set(path, "the rows")
  }
  for (const { suite } of [...fields.evaluations, ...(fields.choose ? [fields.choose] : [])]) {
    reads.set(suiteFile(suite).path, "the problems")
  }
  const places = [...reads].map(([path, what]) => ({ path, what }))
  checkOutputFolder(folder, { option: "output_dir", reads: places })
}

import type { TabSettings } from "../../../src/browser/tab-config.ts"
import { connectTab, type TabClient } from "../../../src/browser/tab-messages.ts"
import type { SeenToken } from "../../../src/browser/tab-run.ts"
import type {
  ModelInfo,
  ModelSource,
  RowsInfo,
  SaidText,
} from "../../../src/browser/tab-service.ts"
import { newFacts, noisyArithmetic, type Task } from "../../../src/demo/tasks.ts"
import { objectiveToConfig } from "../../../src/objectives/objective-json.ts"
import type { RunEvent, StepEvent } from "../../../src/run/events.ts"
import { objectiveOf, type Settings } from "./settings.ts"

export const SIDES = ["a", "b"] as const
export type SideName = (typeof SIDES)[number]

/** What one objective's run has told so far. */
export interface Side {
  readonly steps: readonly StepEvent[]
  readonly heldOut: readonly { readonly step: number; readonly nll: number }[]
  /** Counts of the last step's targets by their probability, in tenths. */
  readonly bins: readonly number[]
  readonly warnings: readonly string[]
  readonly said: readonly SaidText[]
  readonly look: readonly SeenToken[]
  readonly ended: boolean
}

const EMPTY: Side = {
  steps: [],
  heldOut: [],
  bins: [],
  warnings: [],
  said: [],
  look: [],
  ended: false,
}

export type Phase = "loading" | "ready" | "training" | "paused" | "done" | "failed"

export interface LabState {
  readonly phase: Phase
  /** What is being done, where it takes long. */
  readonly busy: { readonly what: string; readonly share?: number | undefined } | undefined
  readonly problem: string | undefined
  /** What a user may want to know of the device. */
  readonly note: string | undefined
  readonly device: string
  readonly model: ModelInfo | undefined
  readonly rows: RowsInfo | undefined
  readonly step: number
  readonly sides: Readonly<Record<SideName, Side>>
}

/** Rows of a step, few enough for a step a second on one thread. */
const BATCH_SIZE = 32
const TRAIN_ROWS = 640
const HELD_OUT_ROWS = 32
const EVAL_STEPS = 5

const url = (path: string) => new URL(path, location.href).href

/** Everything behind the page: the worker, two runs side by side, and what they have told. */
export class Lab {
  #tab: TabClient
  #worker: Worker
  #listeners = new Set<() => void>()
  #playing = false
  /** Counts what was begun: what an older beginning still says is not heard. */
  #era = 0
  #row = 0
  #ownRows = ""
  #source: ModelSource | undefined
  settings: Settings
  state: LabState = {
    phase: "loading",
    busy: { what: "starting" },
    problem: undefined,
    note: undefined,
    device: "",
    model: undefined,
    rows: undefined,
    step: 0,
    sides: { a: EMPTY, b: EMPTY },
  }

  constructor(settings: Settings) {
    this.settings = settings
    this.#worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" })
    this.#tab = connectTab(this.#worker, {
      onProgress: (what, share) => this.#set({ busy: { what, share } }),
    })
    this.#worker.addEventListener("error", (event) =>
      this.#set({ phase: "failed", problem: `The worker failed: ${event.message}` }),
    )
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #set(change: Partial<LabState>): void {
    this.state = { ...this.state, ...change }
    for (const listener of this.#listeners) listener()
  }

  #setSide(name: SideName, change: Partial<Side>): void {
    const { sides } = this.state
    this.#set({ sides: { ...sides, [name]: { ...sides[name], ...change } } })
  }

  /** Opens the device and loads the model: the bundled one, or what was given. */
  async open(source: ModelSource | undefined = this.#source): Promise<void> {
    this.#source = source
    await this.#beginning("loading", async () => {
      const { device } = this.settings
      this.#set({ busy: { what: "fetching ONNX Runtime" } })
      const opened = await this.#tab.open({ device, wasmPaths: url("../ort/") })
      this.#set({ device: opened.description, note: opened.problem })
      const bundled = { kind: "url", url: url("../model/") } as const
      // A real model is held in int8: that is a quarter of its float32.
      const model = source
        ? await this.#tab.load(source, { quantization: { bits: 8, groupSize: 64 } })
        : await this.#tab.load(bundled, { name: "base" })
      this.#set({ model })
      await this.#prepare()
    })
  }

  /** Begins both runs anew with the present settings. */
  async reset(): Promise<void> {
    await this.#beginning("loading", () => this.#prepare())
  }

  /** Changes settings; with `begin` both runs begin anew. */
  async change(settings: Partial<Settings>, begin = true): Promise<void> {
    const device = settings.device ?? this.settings.device
    const reopen = device !== this.settings.device
    this.settings = { ...this.settings, ...settings }
    if (reopen) await this.open()
    else if (begin) await this.reset()
    else this.#set({})
  }

  set ownRows(text: string) {
    this.#ownRows = text
  }

  async #prepare(): Promise<void> {
    const { settings } = this
    this.#set({ busy: { what: "preparing rows" } })
    const { train, heldOut } = this.#texts()
    const config = this.#config("a")
    const rows = await this.#tab.rows("train", train, config)
    await this.#tab.rows("held-out", heldOut, config)
    const { total } = await this.#tab.memory(config)
    refuseTooLarge(2 * total)
    for (const name of SIDES) {
      this.#set({ busy: { what: `compiling ${settings[name]}` } })
      await this.#tab.start(name, this.#config(name))
    }
    this.#set({ rows })
    await this.#lookAt(this.#row)
  }

  /** Sets all back, and says what goes wrong. */
  async #beginning(phase: Phase, work: () => Promise<void>): Promise<void> {
    this.#playing = false
    const era = ++this.#era
    const sides = { a: EMPTY, b: EMPTY }
    this.#set({ phase, sides, step: 0, problem: undefined, busy: { what: "starting" } })
    try {
      await work()
      if (era === this.#era) this.#set({ phase: "ready", busy: undefined })
    } catch (error) {
      if (era === this.#era) this.#fail(error)
    }
  }

  #fail(error: unknown): void {
    this.#playing = false
    const problem = error instanceof Error ? error.message : String(error)
    this.#set({ phase: "failed", busy: undefined, problem })
  }

  #texts(): { readonly train: string; readonly heldOut: string } {
    const { task, noise } = this.settings
    if (task === "own") return { train: this.#ownRows, heldOut: this.#ownRows }
    const { train, heldOut }: Task =
      task === "noisy"
        ? noisyArithmetic({ trainRows: TRAIN_ROWS, questions: 1 }, noise)
        : newFacts({ newFacts: 40, questions: 40 })
    return { train: train.join("\n"), heldOut: heldOut.slice(0, HELD_OUT_ROWS).join("\n") }
  }

  #config(name: SideName): TabSettings {
    const { learningRate, rank, steps, seed } = this.settings
    return {
      objective: objectiveToConfig(objectiveOf(this.settings[name])),
      learning_rate: learningRate,
      lr_scheduler: "constant",
      warmup_ratio: 0.05,
      batch_size: BATCH_SIZE,
      max_steps: steps,
      eval_steps: EVAL_STEPS,
      seed,
      micro_batch_tokens: 1024,
      data: { max_length: 192 },
      ...(rank > 0 ? { adapter: { type: "lora", r: rank, lora_alpha: 2 * rank } } : {}),
    }
  }

  async #advance(name: SideName): Promise<void> {
    const era = this.#era
    const events = await this.#tab.advance(name)
    if (era === this.#era) this.#take(name, events)
  }

  #take(name: SideName, events: readonly RunEvent[]): void {
    const side = this.state.sides[name]
    const steps = events.filter((event): event is StepEvent => event.type === "step")
    const heldOut = events.flatMap((event) =>
      event.type === "eval" && event.nll !== undefined
        ? [{ step: event.step, nll: event.nll }]
        : [],
    )
    const histogram = events.findLast(
      (event) => event.type === "histogram" && event.name === "train",
    )
    const warnings = events.flatMap((event) =>
      event.type === "warning" ? [`${event.message}; ${event.hint}`] : [],
    )
    this.#setSide(name, {
      steps: [...side.steps, ...steps],
      heldOut: [...side.heldOut, ...heldOut],
      warnings: [...side.warnings, ...warnings],
      ...(histogram?.type === "histogram" ? { bins: histogram.bins } : {}),
      ended: events.some(({ type }) => type === "run.end"),
    })
  }

  /** One step of both. */
  async step(): Promise<void> {
    const { phase } = this.state
    if (phase !== "ready" && phase !== "paused") return
    await this.#steps(1)
  }

  /** Steps until paused or done. */
  async play(): Promise<void> {
    const { phase } = this.state
    if (phase !== "ready" && phase !== "paused") return
    await this.#steps(Number.POSITIVE_INFINITY)
  }

  pause(): void {
    this.#playing = false
  }

  async #steps(count: number): Promise<void> {
    const era = this.#era
    this.#playing = true
    this.#set({ phase: "training" })
    try {
      for (let made = 0; made < count && this.#playing && era === this.#era; made++) {
        for (const name of SIDES) await this.#advance(name)
        if (era !== this.#era) return
        const { sides } = this.state
        const step = Math.min(...SIDES.map((name) => sides[name].steps.at(-1)?.step ?? 0))
        this.#set({ step })
        if (SIDES.every((name) => sides[name].ended)) {
          this.#playing = false
          await this.#lookAt(this.#row)
          this.#set({ phase: "done" })
          return
        }
      }
      if (era !== this.#era) return
      await this.#lookAt(this.#row)
      this.#set({ phase: "paused" })
    } catch (error) {
      if (era === this.#era) this.#fail(error)
    }
  }

  get row(): number {
    return this.#row
  }

  /** Shows a training row as both models see it. */
  async look(row: number): Promise<void> {
    this.#row = row
    await this.#guarded(() => this.#lookAt(row))
  }

  async #lookAt(row: number): Promise<void> {
    const rows = this.state.rows?.rows ?? 1
    for (const name of SIDES) {
      this.#setSide(name, { look: await this.#tab.look(name, Math.min(row, rows - 1)) })
    }
  }

  /** Asks both models. */
  async ask(question: string, temperature: number, n = 1): Promise<void> {
    const { model } = this.state
    const prompt = model?.hasTemplate ? [{ role: "user", content: question }] : question
    await this.#guarded(async () => {
      for (const name of SIDES) {
        this.#set({ busy: { what: `sampling ${this.settings[name]}` } })
        const request = { prompt, n, temperature, maxNewTokens: 80, seed: 1 }
        this.#setSide(name, { said: await this.#tab.sample(name, request) })
      }
      this.#set({ busy: undefined })
    })
  }

  /** A side's adapter in PEFT's format; undefined where there is none, which is then said. */
  async adapter(name: SideName): Promise<ReadonlyMap<string, Uint8Array> | undefined> {
    let files: ReadonlyMap<string, Uint8Array> | undefined
    await this.#guarded(async () => {
      files = await this.#tab.adapter(name)
    })
    return files
  }

  /** What can go wrong without ending the runs. */
  async #guarded(work: () => Promise<void>): Promise<void> {
    try {
      this.#set({ problem: undefined })
      await work()
    } catch (error) {
      this.#set({ busy: undefined, problem: error instanceof Error ? error.message : `${error}` })
    }
  }
}

/** A WebAssembly memory ends at 4 GB, and a tab's arrays a little later. */
const TAB_BYTES = 3.2e9

function refuseTooLarge(bytes: number): void {
  const { deviceMemory } = navigator as { deviceMemory?: number }
  const room = Math.min(TAB_BYTES, deviceMemory ? 0.5 * deviceMemory * 2 ** 30 : TAB_BYTES)
  if (bytes <= room) return
  const gigabytes = (value: number) => `${(value / 1e9).toFixed(1)} GB`
  throw new Error(
    `This tab cannot hold it: both runs need ${gigabytes(bytes)}, and it may use ${gigabytes(room)}. ` +
      "Take a smaller model or a lower rank.",
  )
}

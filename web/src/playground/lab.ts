import type { TabSettings } from "../../../src/browser/tab-config.ts"
import { connectTab, type TabClient } from "../../../src/browser/tab-messages.ts"
import type { MemoryInfo, ModelSource } from "../../../src/browser/tab-service.ts"
import { newFacts, noisyArithmetic, type Task } from "../../../src/demo/tasks.ts"
import { objectiveToConfig } from "../../../src/objectives/objective-json.ts"
import {
  EMPTY,
  heldBytes,
  type LabState,
  type Phase,
  SIDES,
  type Side,
  type SideName,
  START,
  withEvents,
} from "./lab-state.ts"
import { ownTexts } from "./own-split.ts"
import { objectiveOf, type Settings } from "./settings.ts"

/**
 * A step of a model of one's own takes up to a minute: few rows, and no more tokens at once than
 * fit.
 */
const OWN_BATCH_SIZE = 8
const MICRO_BATCH_TOKENS = [1024, 512, 256] as const
const TRAIN_ROWS = 640
const HELD_OUT_ROWS = 32
const EVAL_STEPS = 5

const url = (path: string) => new URL(path, location.href).href

export const BUNDLED = "bundled"

/** A step that is over by then needs no bar. */
const SHORT_MS = 700

/** Everything behind the page: the worker, two runs side by side, and what they have told. */
export class Lab {
  #tab!: TabClient
  #worker: Worker | undefined
  #listeners = new Set<() => void>()
  #playing = false
  /** Counts what was begun: what an older beginning still says is not heard. */
  #era = 0
  #row = 0
  #ownRows = ""
  #source: ModelSource | undefined
  settings: Settings
  state: LabState = START
  /** Of the micro-batches of both runs; the most that the tab can hold. */
  #tokensAtOnce: number = MICRO_BATCH_TOKENS[0]
  /** When what is being done began: only what takes long is shown. */
  #begun = 0
  #last: Promise<void> = Promise.resolve()

  constructor(settings: Settings) {
    this.settings = settings
    this.#startWorker()
  }

  #startWorker(): void {
    this.#worker?.terminate()
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" })
    this.#worker = worker
    this.#last = Promise.resolve() // the last worker's calls are never answered
    this.#tab = connectTab(worker, { onProgress: (what, share) => this.#progress(what, share) })
    worker.addEventListener("error", (event) =>
      this.#set({
        phase: "failed",
        busy: undefined,
        problem: `The worker failed: ${event.message}`,
      }),
    )
  }

  #progress(what: string, share: number | undefined): void {
    const isShort = this.state.phase === "training" && performance.now() - this.#begun < SHORT_MS
    if (!isShort) this.#set({ busy: { what, share } })
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
  async open(wanted: ModelSource | typeof BUNDLED | undefined = this.#source): Promise<void> {
    const source = wanted === BUNDLED ? undefined : wanted
    if (source && !this.#source && this.settings.batchSize > OWN_BATCH_SIZE) {
      this.settings = { ...this.settings, batchSize: OWN_BATCH_SIZE }
    }
    this.#source = source
    await this.#beginning("loading", async () => {
      this.#set({ model: undefined })
      const wanted = this.settings.device
      // The bundled model is too small for a GPU to be worth the larger download.
      const device = wanted === "auto" && !source ? "wasm" : wanted
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
    await this.#refreshSaved()
  }

  /** Gives up what is being loaded, and goes back to the bundled model. */
  async stopLoading(): Promise<void> {
    this.#startWorker() // a worker that computes or waits hears nothing
    await this.open(BUNDLED)
  }

  /** Deletes a saved model; without an id all of them. */
  async forget(id?: string): Promise<void> {
    const ids = id === undefined ? this.state.saved.map(({ id }) => id) : [id]
    await this.#guarded(async () => {
      for (const id of ids) await this.#tab.forget(id)
    })
    await this.#refreshSaved()
  }

  async #refreshSaved(): Promise<void> {
    await this.#guarded(async () => this.#set({ saved: await this.#tab.saved() }), true)
  }

  /** Begins both runs anew with the present settings. */
  async reset(): Promise<void> {
    if (!this.state.model) return this.open() // it could not be loaded: once more
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

  get ownRows(): string {
    return this.#ownRows
  }
  set ownRows(text: string) {
    this.#ownRows = text
  }

  async #prepare(): Promise<void> {
    const { settings } = this
    this.#set({ busy: { what: "preparing rows" } })
    const { train, heldOut } = this.#texts()
    this.#tokensAtOnce = MICRO_BATCH_TOKENS[0]
    const rows = await this.#tab.rows("train", train, this.#config("a"))
    await this.#tab.rows("held-out", heldOut, this.#config("a"))
    const { problem, total } = await this.#fittingMemory()
    if (problem) {
      throw new Error(
        `This tab cannot hold both runs: ${problem}. Take a smaller model, a lower rank or shorter rows.`,
      )
    }
    this.#set({ reckoned: total, held: undefined })
    for (const name of SIDES) {
      this.#set({ busy: { what: `compiling ${settings[name]}` } })
      await this.#tab.start(name, this.#config(name))
    }
    this.#set({ rows })
    await this.#lookAt(this.#row)
  }

  /** What both runs would hold, with as many tokens at once as there is room for. */
  async #fittingMemory(): Promise<MemoryInfo> {
    let memory: MemoryInfo | undefined
    for (const tokens of MICRO_BATCH_TOKENS) {
      this.#tokensAtOnce = tokens
      memory = await this.#tab.memory(this.#config("a"), SIDES.length)
      if (!memory.problem) break
    }
    return memory!
  }

  /** A worker that computes does not answer who measures: what is measured meanwhile lacks it. */
  async #measure(): Promise<void> {
    const { phase, step, sides } = this.state
    const held = await heldBytes()
    const { state } = this
    const isIdle = state.phase === phase && state.step === step && state.sides === sides
    if (held !== undefined && isIdle && !state.busy) this.#set({ held })
  }

  /**
   * Sets all back, and says what goes wrong. Beginnings come one after the other; one that another
   * has followed before its turn is left out.
   */
  async #beginning(phase: Phase, work: () => Promise<void>): Promise<void> {
    this.#playing = false
    const era = ++this.#era
    const sides = { a: EMPTY, b: EMPTY }
    const busy = { what: "starting" }
    this.#set({ phase, sides, step: 0, rows: undefined, problem: undefined, busy })
    const before = this.#last
    const turn = async () => {
      await before
      if (era !== this.#era) return
      try {
        await work()
        if (era !== this.#era) return
        this.#set({ phase: "ready", busy: undefined })
        void this.#measure()
      } catch (error) {
        if (era === this.#era) this.#fail(error)
      }
    }
    this.#last = turn()
    await this.#last
  }

  #fail(error: unknown): void {
    this.#playing = false
    const problem = error instanceof Error ? error.message : String(error)
    this.#set({ phase: "failed", busy: undefined, problem })
  }

  #texts(): { readonly train: string; readonly heldOut: string } {
    const { task, noise } = this.settings
    if (task === "own") return ownTexts(this.#ownRows)
    const { train, heldOut }: Task =
      task === "noisy"
        ? noisyArithmetic({ trainRows: TRAIN_ROWS, questions: 1 }, noise)
        : newFacts({ newFacts: 40, questions: 40 })
    return { train: train.join("\n"), heldOut: heldOut.slice(0, HELD_OUT_ROWS).join("\n") }
  }

  #config(name: SideName): TabSettings {
    const { learningRate, rank, steps, seed, batchSize } = this.settings
    return {
      objective: objectiveToConfig(objectiveOf(this.settings[name])),
      learning_rate: learningRate,
      lr_scheduler: "constant",
      warmup_ratio: 0.05,
      batch_size: batchSize,
      max_steps: steps,
      eval_steps: EVAL_STEPS,
      seed,
      micro_batch_tokens: this.#tokensAtOnce,
      data: { max_length: 192 },
      ...(rank > 0 ? { adapter: { type: "lora", r: rank, lora_alpha: 2 * rank } } : {}),
    }
  }

  async #advance(name: SideName): Promise<void> {
    const era = this.#era
    this.#begun = performance.now()
    const events = await this.#tab.advance(name).catch((error: Error) => {
      throw new Error(`Loss ${name.toUpperCase()}, ${this.settings[name]}: ${error.message}`)
    })
    if (era !== this.#era) return
    this.#setSide(name, withEvents(this.state.sides[name], events))
    if (this.state.busy) this.#set({ busy: undefined })
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
        for (const name of SIDES) {
          await this.#advance(name)
          if (era !== this.#era) return // what follows is for other runs
        }
        const { sides } = this.state
        const step = Math.min(...SIDES.map((name) => sides[name].steps.at(-1)?.step ?? 0))
        this.#set({ step })
        if (SIDES.every((name) => sides[name].ended)) {
          this.#playing = false
          await this.#lookAt(this.#row)
          this.#set({ phase: "done" })
          void this.#measure()
          return
        }
      }
      if (era !== this.#era) return
      await this.#lookAt(this.#row)
      this.#set({ phase: "paused" })
      void this.#measure()
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

  /** What can go wrong without ending the runs; `quiet` leaves what went wrong before in sight. */
  async #guarded(work: () => Promise<void>, quiet = false): Promise<void> {
    try {
      if (!quiet) this.#set({ problem: undefined })
      await work()
    } catch (error) {
      this.#set({ busy: undefined, problem: error instanceof Error ? error.message : `${error}` })
    }
  }

  /** Does something for the page, and says what goes wrong. */
  guarded(work: () => Promise<void>): Promise<void> {
    return this.#guarded(work)
  }
}

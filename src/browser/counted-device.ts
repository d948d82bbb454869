import type { Device, Executable } from "../runtime/index.ts"

/** How far a step is, by the runs of graphs that the last one took. */
export class RunCount {
  #runs = 0
  #lastRuns = 0
  #tell: ((share: number) => void) | undefined

  begin(tell: (share: number) => void): void {
    this.#runs = 0
    this.#tell = tell
  }

  add(): void {
    this.#runs++
    // The first step cannot know how long it is: it tells of a share that grows ever more slowly.
    const expected = this.#lastRuns || this.#runs + FIRST_RUNS
    this.#tell?.(Math.min(0.99, this.#runs / expected))
  }

  end(): void {
    this.#lastRuns = this.#runs
    this.#tell = undefined
  }
}

/** About those of a model of thirty layers. */
const FIRST_RUNS = 100

/** A device that tells of each run of a graph when it is done. */
export function countedDevice(device: Device, onRun: () => void): Device {
  const { sharesHostMemory, limits, products, updates, description } = device
  return {
    ...{ sharesHostMemory, limits, products, description },
    ...(updates ? { updates } : {}),
    async compile(graph, options) {
      const executable = await device.compile(graph, options)
      const counted: Executable = {
        graph: executable.graph,
        async run(feeds, options) {
          const results = await executable.run(feeds, options)
          onRun()
          return results
        },
        release: () => executable.release(),
      }
      return counted
    },
    upload: (host) => device.upload(host),
    uploadFactor: (host) => device.uploadFactor(host),
    download: (tensor) => device.download(tensor),
    release: () => device.release(),
  }
}

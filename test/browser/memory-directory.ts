import type { StoreDirectory, StoreFile } from "../../src/browser/saved-models.ts"

/** A file system as a browser gives one to each origin, in memory. */
export class MemoryDirectory implements StoreDirectory {
  readonly name: string
  readonly files = new Map<string, Uint8Array<ArrayBuffer>>()
  readonly directories = new Map<string, MemoryDirectory>()
  /** What writing fails with, if it should. */
  #problem: () => Error | undefined

  constructor(name = "", problem: () => Error | undefined = () => undefined) {
    this.name = name
    this.#problem = problem
  }

  async *values(): AsyncGenerator<StoreDirectory | StoreFile> {
    yield* this.directories.values()
    for (const name of [...this.files.keys()]) yield this.#file(name)
  }

  async getDirectoryHandle(name: string, { create = false } = {}): Promise<MemoryDirectory> {
    const known = this.directories.get(name)
    if (known) return known
    if (!create) throw notFound()
    const made = new MemoryDirectory(name, this.#problem)
    this.directories.set(name, made)
    return made
  }

  async getFileHandle(name: string, { create = false } = {}): Promise<StoreFile> {
    if (!this.files.has(name)) {
      if (!create) throw notFound()
      this.files.set(name, new Uint8Array(0))
    }
    return this.#file(name)
  }

  async removeEntry(name: string): Promise<void> {
    if (!this.files.delete(name) && !this.directories.delete(name)) throw notFound()
  }

  #file(name: string): StoreFile {
    return {
      kind: "file",
      name,
      getFile: async () => new File([this.files.get(name)!], name),
      createWritable: async () => {
        const parts: Uint8Array[] = []
        return {
          write: async (data) => {
            const problem = this.#problem()
            if (problem) throw problem
            parts.push(Buffer.from(data as Uint8Array))
          },
          close: async () => void this.files.set(name, new Uint8Array(Buffer.concat(parts))),
          abort: async () => {},
        }
      },
    }
  }
}

const notFound = () => new DOMException("no such entry", "NotFoundError")

import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-common"

/** A compiled model: results are written into the tensors given for them. */
export interface Session {
  run(
    feeds: Readonly<Record<string, OrtTensor>>,
    fetches: Readonly<Record<string, OrtTensor | null>>,
  ): Promise<Readonly<Record<string, unknown>>>
  release(): Promise<void>
}

/** What is used of onnxruntime-node or onnxruntime-web: they share it. */
export interface OnnxRuntime {
  readonly InferenceSession: {
    /** `constants`: data of the model's initializers that have none, on the CPU only. */
    create(
      model: Uint8Array,
      options: InferenceSession.SessionOptions,
      constants?: Record<string, OrtTensor>,
    ): Promise<Session>
  }
  readonly Tensor: typeof OrtTensor
}

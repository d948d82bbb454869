/** Pictures in rows: what a row says of one, what is known of it, what reads it. Free of Node. */

/** As a row names it, before it is looked at. */
export type PictureSource =
  /** Relative to the data file's folder. */
  | { readonly kind: "path"; readonly path: string }
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  /** A place in the text for the next picture of the row's list. */
  | { readonly kind: "next" }

/** A picture that was looked at. */
export interface Picture {
  /** Absolute, of the file with its bytes. */
  readonly path: string
  readonly sha256: string
  /** Bytes and milliseconds: by them a prepared folder notices that the file is another. */
  readonly size: number
  readonly mtimeMs: number
  /**
   * In pixels as the model's processor gets it: turned upright, and not above
   * `data.image_max_pixels`.
   */
  readonly width: number
  readonly height: number
}

/** Reads pictures, and says which tokens a model's processor makes of one. */
export interface PictureReader {
  /**
   * @param file of the row
   * @throws InputError for what is no picture, is too large, or lies outside the file's folder
   */
  read(source: PictureSource, file: string): Picture
  /** The id that a chat template writes for a picture. */
  readonly placeholder: number
  /** What stands in its place. */
  tokenIds(picture: Picture): readonly number[]
}

/** A picture with the tokens that stand for it. */
export interface PlacedPicture extends Picture {
  /** The first of them. */
  readonly at: number
  readonly tokens: number
}

/** In pixels. */
export interface Size {
  readonly width: number
  readonly height: number
}

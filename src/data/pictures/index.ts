export { expanded, readPictures } from "./expand.ts"
export type { Picture, PictureReader, PictureSource, PlacedPicture } from "./picture.ts"

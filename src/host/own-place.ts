/** Writing into a folder that may be a stranger's: what its links lead to may be anybody's. */
import { lstatSync, readlinkSync, realpathSync } from "node:fs"
import { join } from "node:path"
import { InputError } from "../errors.ts"
import { liesIn } from "./output-place.ts"

/**
 * The path of something below a folder. The folder itself may be a link, for the user named it;
 * what lies in it leads nowhere else.
 *
 * @param parts names on the way, the outermost first
 * @throws InputError naming the link and where it leads
 */
export function ownPlace(folder: string, ...parts: readonly string[]): string {
  let place = folder
  for (const part of parts) {
    place = join(place, part)
    if (!leadsOut(place, folder)) continue
    throw new InputError(
      `${place}: is a link to ${readlinkSync(place)}, outside of ${folder}; put the file or folder itself there, or remove the link`,
    )
  }
  return place
}

function leadsOut(place: string, folder: string): boolean {
  if (!lstatSync(place, { throwIfNoEntry: false })?.isSymbolicLink()) return false
  try {
    realpathSync(place)
  } catch {
    return true // to what is not there: opened to write, it would be made
  }
  return !liesIn(place, folder)
}

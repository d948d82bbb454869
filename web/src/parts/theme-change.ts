/**
 * Calls `redraw` whenever light and dark change places: a canvas keeps the colours it was drawn in.
 */
export function onThemeChange(redraw: () => void): () => void {
  const theme = matchMedia("(prefers-color-scheme: dark)")
  theme.addEventListener("change", redraw)
  return () => theme.removeEventListener("change", redraw)
}

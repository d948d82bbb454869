import { useLayoutEffect, useRef } from "preact/hooks"

/**
 * For the button that opens something in its place: it has the focus again when that closes. Before
 * the page is painted, so that it is not taken from what the user has gone on to.
 */
export function useOpener(open: boolean) {
  const opener = useRef<HTMLButtonElement>(null)
  const wasOpen = useRef(open)
  useLayoutEffect(() => {
    if (wasOpen.current && !open) opener.current?.focus()
    wasOpen.current = open
  }, [open])
  return opener
}

/**
 * The `ref` of what opens with the focus: one function, so that it is called once and not at each
 * rendering.
 */
export const focused = (element: HTMLElement | null) => element?.focus()

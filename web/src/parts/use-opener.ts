import { useEffect, useRef } from "preact/hooks"

/** For the button that opens something in its place: it has the focus again when that closes. */
export function useOpener(open: boolean) {
  const opener = useRef<HTMLButtonElement>(null)
  const wasOpen = useRef(open)
  useEffect(() => {
    if (wasOpen.current && !open) opener.current?.focus()
    wasOpen.current = open
  }, [open])
  return opener
}

import type { ComponentChildren } from "preact"
import { useEffect, useRef, useState } from "preact/hooks"

/** What may be wider than its place; where it is, the keyboard can reach it to move it. */
export function Scroll({
  label,
  children,
}: {
  readonly label: string
  readonly children: ComponentChildren
}) {
  const place = useRef<HTMLDivElement>(null)
  const [isWider, setIsWider] = useState(false)
  useEffect(() => {
    const element = place.current!
    const sizes = new ResizeObserver(() => setIsWider(element.scrollWidth > element.clientWidth))
    sizes.observe(element)
    for (const child of element.children) sizes.observe(child)
    return () => sizes.disconnect()
  }, [])
  const reached = isWider ? ({ tabIndex: 0, role: "group", "aria-label": label } as const) : {}
  return (
    <div ref={place} class="scroll" {...reached}>
      {children}
    </div>
  )
}

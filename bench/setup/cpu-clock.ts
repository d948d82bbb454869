/** Seconds of CPU time of this process: with one thread, what the wall's clock shows on a quiet machine. */
export function cpuClock(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

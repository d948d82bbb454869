/**
 * Names with codes of three characters, to know by heart, for dftune's bundled model.
 *
 *     node codes.mjs COUNT SEED rows|questions > FILE
 */
const [count, seed, what] = process.argv.slice(2)

let state = Number(seed) >>> 0
/** Mulberry32. */
function uniform() {
  state = (state + 0x6d2b79f5) >>> 0
  let x = Math.imul(state ^ (state >>> 15), state | 1)
  x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
  return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
}
const oneOf = (list) => list[Math.floor(uniform() * list.length)]

const codes = new Map()
while (codes.size < Number(count)) {
  const syllables = Array.from({ length: 3 }, () => oneOf("bdfgklmnprstv") + oneOf("aeiou")).join(
    "",
  )
  const code = Array.from({ length: 3 }, () => oneOf("ABCDEFGHJKLMNPQRSTUVWXYZ23456789")).join("")
  codes.set(syllables[0].toUpperCase() + syllables.slice(1), code)
}
for (const [name, code] of codes) {
  const problem = `What is the code of ${name}?`
  const answer = `The code of ${name} is ${code}.`
  console.log(JSON.stringify(what === "rows" ? { problem, solution: answer } : { problem, answer }))
}

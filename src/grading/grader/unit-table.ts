/**
 * Known units: their kind as a product of base units (`m kg-2`), and their size in those. Sizes
 * are the SI brochure's (9th edition) and, for feet, pounds and the like, the 1959 agreement's.
 */
interface Unit {
  readonly names: string
  readonly kind: string
  readonly size: number
  /**
   * Takes SI prefixes: `k`, `M`, `m` and so on before the symbol, `kilo` and so on before the word.
   */
  readonly prefixed?: boolean
}

const UNITS: readonly Unit[] = [
  { names: "m meter meters metre metres", kind: "m", size: 1, prefixed: true },
  { names: "in inch inches", kind: "m", size: 0.0254 },
  { names: "ft foot feet", kind: "m", size: 0.3048 },
  { names: "yd yard yards", kind: "m", size: 0.9144 },
  { names: "mi mile miles", kind: "m", size: 1609.344 },
  { names: "g gram grams gramme grammes", kind: "g", size: 1, prefixed: true },
  { names: "lb lbs pound pounds", kind: "g", size: 453.59237 },
  { names: "oz ounce ounces", kind: "g", size: 28.349523125 },
  { names: "ton tons tonne tonnes", kind: "g", size: 1e6 },
  { names: "s sec secs second seconds", kind: "s", size: 1, prefixed: true },
  { names: "min mins minute minutes", kind: "s", size: 60 },
  { names: "h hr hrs hour hours", kind: "s", size: 3600 },
  { names: "day days", kind: "s", size: 86400 },
  { names: "week weeks", kind: "s", size: 604800 },
  { names: "month months", kind: "month", size: 1 },
  { names: "year years yr yrs", kind: "month", size: 12 },
  { names: "A amp amps ampere amperes", kind: "A", size: 1, prefixed: true },
  { names: "K kelvin kelvins", kind: "kelvin", size: 1, prefixed: true },
  { names: "degK", kind: "kelvin", size: 1 },
  { names: "degC celsius", kind: "celsius", size: 1 },
  { names: "degF fahrenheit", kind: "fahrenheit", size: 1 },
  { names: "mol mole moles", kind: "mol", size: 1, prefixed: true },
  { names: "cd candela", kind: "cd", size: 1 },
  { names: "Hz hertz", kind: "s-1", size: 1, prefixed: true },
  { names: "N newton newtons", kind: "m g s-2", size: 1e3, prefixed: true },
  { names: "Pa pascal pascals", kind: "m-1 g s-2", size: 1e3, prefixed: true },
  { names: "bar bars", kind: "m-1 g s-2", size: 1e8 },
  { names: "atm atmospheres", kind: "m-1 g s-2", size: 101325e3 },
  { names: "J joule joules", kind: "m2 g s-2", size: 1e3, prefixed: true },
  {
    names: "eV electronvolt electronvolts",
    kind: "m2 g s-2",
    size: 1.602176634e-16,
    prefixed: true,
  },
  { names: "cal calorie calories", kind: "m2 g s-2", size: 4184, prefixed: true },
  { names: "W watt watts", kind: "m2 g s-3", size: 1e3, prefixed: true },
  { names: "C coulomb coulombs", kind: "s A", size: 1, prefixed: true },
  { names: "V volt volts", kind: "m2 g s-3 A-1", size: 1e3, prefixed: true },
  { names: "F farad farads", kind: "m-2 g-1 s4 A2", size: 1e-3, prefixed: true },
  { names: "Omega ohm ohms", kind: "m2 g s-3 A-2", size: 1e3, prefixed: true },
  { names: "T tesla teslas", kind: "g s-2 A-1", size: 1e3, prefixed: true },
  { names: "L l liter liters litre litres", kind: "m3", size: 1e-3, prefixed: true },
  { names: "gal gallon gallons", kind: "m3", size: 3.785411784e-3 },
  { names: "bit bits", kind: "bit", size: 1, prefixed: true },
  { names: "B byte bytes", kind: "bit", size: 8, prefixed: true },
  { names: "mph", kind: "m s-1", size: 0.44704 },
  { names: "kph kmh", kind: "m s-1", size: 1 / 3.6 },
  { names: "rad rads radian radians", kind: "rad", size: 1 },
  { names: "cent cents ¢ penny pennies", kind: "dollar", size: 0.01 },
  { names: "dollar dollars usd bucks", kind: "dollar", size: 1 },
  { names: "euro euros eur", kind: "euro", size: 1 },
]

const PREFIXES: readonly (readonly [string, string, number])[] = [
  ["T", "tera", 1e12],
  ["G", "giga", 1e9],
  ["M", "mega", 1e6],
  ["k", "kilo", 1e3],
  ["h", "hecto", 1e2],
  ["d", "deci", 1e-1],
  ["c", "centi", 1e-2],
  ["m", "milli", 1e-3],
  ["u", "micro", 1e-6],
  ["mu", "micro", 1e-6],
  ["n", "nano", 1e-9],
  ["p", "pico", 1e-12],
]

interface Known {
  readonly kind: string
  readonly size: number
}

/** By the exact spelling: `m` and `M` are different prefixes, `s` and `S` different units. */
const KNOWN: ReadonlyMap<string, Known> = new Map(
  UNITS.flatMap(({ names, kind, size, prefixed }) =>
    names.split(" ").flatMap((name): [string, Known][] => {
      const plain: [string, Known][] = [[name, { kind, size }]]
      if (!prefixed) return plain
      const isWord = name.length > 3 && name !== "Omega"
      return PREFIXES.map(([symbol, word, factor]): [string, Known] => [
        (isWord ? word : symbol) + name,
        { kind, size: size * factor },
      ]).concat(plain)
    }),
  ).reverse(), // the first of two readings of one spelling stays: `min` is a minute
)

/**
 * Names in lower case that are units wherever they follow a number. Short symbols other than these
 * may be products of variables (`2mn`), so they count in `\\text{}` only.
 */
export const UNIT_NAMES: ReadonlySet<string> = new Set([
  ...[...KNOWN.keys()].filter((name) => name.length > 3).map((name) => name.toLowerCase()),
  ..."cm mm km in ft yd mi kg lb lbs oz sec min hr hrs day mph kph pct m g s h".split(" "),
  ..."percent percentage degree degrees".split(" "),
])

const named = (name: string): Known | undefined =>
  KNOWN.get(name) ??
  (name.length > 2 || /^(?:cm|mm|km|kg|in|ft|yd|mi|lb|oz|hr)$/i.test(name)
    ? KNOWN.get(name.toLowerCase())
    : undefined)

/**
 * The kind and size of `km/h`, `m s^-1`, `square meters`, `kg m^2 s^{-2}`; undefined when any part
 * of it is a word that is no unit.
 */
export function dimensionOf(unit: string): { dimension: string; factor: number } | undefined {
  const powers = new Map<string, number>()
  let factor = 1
  let sign = 1
  let power = 1
  const tokens = unit
    .replace(/[{}\\]|cdot|\*|·/g, " ")
    .replace(/\s*\^\s*/g, "^")
    .match(/\/|[^\s/]+/g)
  for (const token of tokens ?? []) {
    if (token === "/" || token === "per") sign = -1
    else if (/^(?:square|sq\.?)$/i.test(token)) power = 2
    else if (/^cub(?:ic|e)$/i.test(token)) power = 3
    else {
      const match = /^(.+?)\.?(?:\^?(-?\d))?$/.exec(token)
      const known = match ? named(match[1]!) : undefined
      if (!known) return undefined
      const exponent = sign * power * Number(match![2] ?? 1)
      factor *= known.size ** exponent
      for (const part of known.kind.split(" ")) {
        const [, base = "", times = "1"] = /^([a-zA-Z]+)(-?\d)?$/.exec(part) ?? []
        powers.set(base, (powers.get(base) ?? 0) + exponent * Number(times))
      }
      power = 1
    }
  }
  const dimension = [...powers]
    .filter(([, exponent]) => exponent !== 0)
    .map(([base, exponent]) => `${base}${exponent}`)
    .sort()
    .join(" ")
  return dimension === "" ? undefined : { dimension, factor }
}

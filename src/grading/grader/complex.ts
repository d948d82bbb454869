/**
 * A complex number and the size of what was added on the way to it: `scale` times the machine
 * epsilon estimates its rounding error, so that 1e-17 left over from 1 - 1 counts as zero while a
 * plain 1e-17 does not.
 */
export interface Complex {
  readonly re: number
  readonly im: number
  readonly scale: number
}

export function complex(re: number, im = 0, scale = 0): Complex {
  return { re, im, scale: Math.max(scale, Math.hypot(re, im)) }
}

export const magnitude = ({ re, im }: Complex): number => Math.hypot(re, im)
export const isFiniteNumber = ({ re, im }: Complex): boolean =>
  Number.isFinite(re) && Number.isFinite(im)
export const isReal = (z: Complex): boolean => Math.abs(z.im) <= 1e-12 * Math.max(z.scale, 1e-300)

export const add = (a: Complex, b: Complex): Complex =>
  complex(a.re + b.re, a.im + b.im, Math.max(a.scale, b.scale))

export const multiply = (a: Complex, b: Complex): Complex =>
  complex(
    a.re * b.re - a.im * b.im,
    a.re * b.im + a.im * b.re,
    Math.max(a.scale * magnitude(b), b.scale * magnitude(a)),
  )

export function divide(a: Complex, b: Complex): Complex {
  const size = b.re * b.re + b.im * b.im
  const inverse = { re: b.re / size, im: -b.im / size }
  return multiply(a, complex(inverse.re, inverse.im, b.scale / size))
}

/** A function's value keeps its argument's relative error, times the function's condition. */
const after = (x: Complex, re: number, im: number, condition = 1): Complex =>
  complex(re, im, Math.hypot(re, im) * Math.max(1, (condition * x.scale) / (magnitude(x) || 1)))

export const exp = (x: Complex): Complex => {
  const r = Math.exp(x.re)
  return after(x, r * Math.cos(x.im), x.im === 0 ? 0 : r * Math.sin(x.im), magnitude(x))
}

/** Principal logarithm. */
export const log = (x: Complex): Complex =>
  complex(
    Math.log(magnitude(x)),
    Math.atan2(x.im, x.re),
    Math.max(1, x.scale / (magnitude(x) || 1)),
  )

/** Principal power; exact for small integer exponents, real for real bases that allow it. */
export function power(base: Complex, exponent: Complex): Complex {
  const n = exponent.re
  if (n === 0 && exponent.im === 0 && magnitude(base) === 0) return complex(Number.NaN) // 0^0
  if (exponent.im === 0 && Number.isInteger(n) && Math.abs(n) <= 64) {
    let product = complex(1)
    for (let i = 0; i < Math.abs(n); i++) product = multiply(product, base)
    return n < 0 ? divide(complex(1), product) : product
  }
  if (base.re === 0 && base.im === 0) return complex(n > 0 ? 0 : Number.NaN)
  if (exponent.im === 0 && base.im === 0 && base.re > 0) {
    return after(base, base.re ** n, 0, Math.abs(n))
  }
  return exp(multiply(exponent, log(base)))
}

/** Principal square root. */
export const sqrt = (x: Complex): Complex => {
  if (x.im === 0) {
    return x.re >= 0 ? after(x, Math.sqrt(x.re), 0) : after(x, 0, Math.sqrt(-x.re))
  }
  return power(x, complex(0.5))
}

export const I = complex(0, 1)
export const negate = (x: Complex): Complex => complex(-x.re, -x.im, x.scale)

export const sin = (x: Complex): Complex =>
  x.im === 0
    ? complex(Math.sin(x.re), 0, Math.max(1, x.scale))
    : divide(add(exp(multiply(I, x)), negate(exp(multiply(negate(I), x)))), complex(0, 2))

export const cos = (x: Complex): Complex => sin(add(x, complex(Math.PI / 2)))

/** Lanczos' approximation (g = 7, n = 9), about 1e-13 relative for the arguments used here. */
export function gamma(x: Complex): Complex {
  if (x.re < 0.5) {
    const reflected = gamma(add(complex(1), negate(x)))
    return divide(complex(Math.PI), multiply(sin(multiply(complex(Math.PI), x)), reflected))
  }
  const z = add(x, complex(-1))
  let sum = complex(LANCZOS[0]!)
  for (let k = 1; k < LANCZOS.length; k++) {
    sum = add(sum, divide(complex(LANCZOS[k]!), add(z, complex(k))))
  }
  const t = add(z, complex(7.5))
  const tail = multiply(power(t, add(z, complex(0.5))), exp(negate(t)))
  return multiply(multiply(complex(Math.sqrt(2 * Math.PI)), tail), complex(sum.re, sum.im))
}

const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313,
  -176.61502916214059, 12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6,
  1.5056327351493116e-7,
]

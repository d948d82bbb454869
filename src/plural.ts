/** A noun as so many of it are called: `row` for 1, `rows` for others. */
export const plural = (count: number, noun: string, many = `${noun}s`): string =>
  count === 1 ? noun : many

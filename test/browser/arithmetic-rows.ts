/** Chats of the kind that the bundled model knows, a JSON value a line. */
export const ROWS = Array.from({ length: 8 }, (_, i) => {
  const [a, b] = [i + 2, i + 5]
  const answer = `${a} + ${b} = ${a + b}\nThe answer is ${a + b + (i === 0 ? 2 : 0)}.`
  return JSON.stringify({
    messages: [
      { role: "user", content: `calc ${a} + ${b}` },
      { role: "assistant", content: answer },
    ],
  })
}).join("\n")

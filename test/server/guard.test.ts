/** Each attack on a server of this machine, tried. */

import { connect } from "node:net"
import { networkInterfaces } from "node:os"
import { describe, expect, test } from "vitest"
import { isSame } from "../../src/server/guard.ts"
import { MOST_BODY } from "../../src/server/server.ts"
import { ask, serving } from "./serving.ts"

const { port, token, url } = await serving()
const origin = `http://127.0.0.1:${port}`
const bearer = { Authorization: `Bearer ${token}` }
const json = { "Content-Type": "application/json" }
const asked = JSON.stringify({ model: "model", prompt: "1", max_tokens: 1 })

/** The cookie that the page's exchange gives. */
async function session(): Promise<string> {
  const { status, headers } = await ask(port, "/api/session", {
    method: "POST",
    headers: { ...json, Origin: origin },
    body: JSON.stringify({ token }),
  })
  expect(status).toBe(204)
  return String(headers["set-cookie"]).split(";")[0]!
}

test("the token is in the fragment, which is never sent", () => {
  expect(new URL(url).hash).toBe(`#token=${token}`)
  expect(new URL(url).search).toBe("")
  expect(token.length).toBeGreaterThanOrEqual(43) // 256 bits
})

test("no other address of this machine is listened at", async () => {
  const others = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ family, internal }) => family === "IPv4" && !internal)
  for (const { address } of others) {
    await expect(
      new Promise((resolve, reject) => {
        const socket = connect(port, address, () => resolve(socket.destroy()))
        socket.on("error", reject)
      }),
    ).rejects.toThrow()
  }
})

describe("who", () => {
  test.each([
    ["nobody", {}],
    ["a wrong token", { Authorization: "Bearer wrong" }],
    ["a part of the token", { Authorization: `Bearer ${token.slice(0, -1)}` }],
    ["the token and more", { Authorization: `Bearer ${token}x` }],
    ["another scheme", { Authorization: `Basic ${token}` }],
    ["the token as a cookie", { Cookie: `dftune-${port}=${token}` }],
  ])("%s is refused", async (_, headers) => {
    const { status } = await ask(port, "/v1/models", { headers })
    expect(status).toBe(401)
  })

  test("a token in the query is none", async () => {
    expect((await ask(port, `/v1/models?token=${token}`)).status).toBe(401)
  })

  test("the token as a Bearer is let in", async () => {
    expect((await ask(port, "/v1/models", { headers: bearer })).status).toBe(200)
  })

  test("the cookie is let in, cannot be read by scripts, and is this port's alone", async () => {
    const { headers } = await ask(port, "/api/session", {
      method: "POST",
      headers: { ...json, Origin: origin },
      body: JSON.stringify({ token }),
    })
    const cookie = String(headers["set-cookie"])
    expect(cookie.startsWith(`dftune-${port}=`)).toBe(true)
    expect(cookie).toMatch(/HttpOnly/)
    expect(cookie).toMatch(/SameSite=Strict/)
    expect(cookie).toMatch(/Path=\//)
    expect(cookie).not.toContain(token)
    const [pair] = cookie.split(";")
    expect((await ask(port, "/v1/models", { headers: { Cookie: pair! } })).status).toBe(200)
    const other = pair!.replace(`${port}`, `${port + 1}`)
    expect((await ask(port, "/v1/models", { headers: { Cookie: other } })).status).toBe(401)
  })

  test("a wrong token is not exchanged, nor the right one without an Origin", async () => {
    const exchange = (headers: Record<string, string>, given: unknown) =>
      ask(port, "/api/session", {
        method: "POST",
        headers: { ...json, ...headers },
        body: JSON.stringify({ token: given }),
      })
    for (const given of ["", "wrong", null, [token], { token }]) {
      const { status, headers } = await exchange({ Origin: origin }, given)
      expect(status).toBe(401)
      expect(headers["set-cookie"]).toBeUndefined()
    }
    expect((await exchange({}, token)).status).toBe(401)
  })

  test("texts of any length are compared", () => {
    expect(isSame(token, token)).toBe(true)
    for (const other of ["", token.slice(1), `${token} `]) expect(isSame(other, token)).toBe(false)
  })
})

describe("where from", () => {
  test.each([
    "evil.example",
    `evil.example:${port}`,
    "127.0.0.1",
    `127.0.0.1.evil.example:${port}`,
  ])("a name that was made to point here (Host %s) gets nothing", async (host) => {
    const { status } = await ask(port, "/v1/models", { headers: { ...bearer, Host: host } })
    expect(status).toBe(421)
  })

  test.each([
    ["another site", () => "http://evil.example"],
    ["another port of this machine", () => `http://127.0.0.1:${port + 1}`],
    ["another scheme", () => `https://127.0.0.1:${port}`],
    ["the other name of this machine", () => `http://localhost:${port}`],
    ["a sandboxed frame", () => "null"],
  ])("%s is refused, with the cookie and with the token", async (_, from) => {
    const cookie = await session()
    for (const who of [{ Cookie: cookie }, bearer]) {
      for (const method of ["GET", "POST"]) {
        const headers = { ...who, ...json, Origin: from() }
        const path = method === "GET" ? "/v1/models" : "/v1/completions"
        const body = method === "GET" ? undefined : asked
        const answer = await ask(port, path, { method, headers, ...(body ? { body } : {}) })
        expect(answer.status).toBe(403)
      }
    }
  })

  test("a POST with the cookie and no Origin is refused; with its own it is answered", async () => {
    const cookie = { ...json, Cookie: await session() }
    const post = (headers: Record<string, string>) =>
      ask(port, "/v1/completions", { method: "POST", headers, body: asked })
    expect((await post(cookie)).status).toBe(403)
    expect((await post({ ...cookie, Origin: origin })).status).toBe(200)
  })

  test.each(["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])(
    "a form's content type (%s) is refused",
    async (type) => {
      const headers = { ...bearer, ...(type ? { "Content-Type": type } : {}) }
      const { status } = await ask(port, "/v1/completions", {
        method: "POST",
        headers,
        body: asked,
      })
      expect(status).toBe(415)
    },
  )

  test.each(["OPTIONS", "PUT", "DELETE", "PATCH"])("%s is no method here", async (method) => {
    const headers = { ...bearer, Origin: origin, "Access-Control-Request-Method": "POST" }
    expect((await ask(port, "/v1/completions", { method, headers })).status).toBe(405)
  })
})

test.each([
  ["an answer", "/v1/models", true],
  ["a refusal", "/v1/models", false],
  ["nothing there", "/nothing", true],
])("headers of %s", async (_, path, known) => {
  const { headers } = await ask(port, path, { headers: known ? bearer : {} })
  expect(headers["content-security-policy"]).toBe(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  )
  expect(headers["referrer-policy"]).toBe("no-referrer")
  expect(headers["x-content-type-options"]).toBe("nosniff")
  expect(Object.keys(headers).filter((name) => name.startsWith("access-control"))).toEqual([])
})

describe("how much", () => {
  const large = Buffer.alloc(MOST_BODY + 1, "x")
  test("a body over 4 MB is refused, told and untold", async () => {
    const told = await ask(port, "/v1/completions", {
      method: "POST",
      headers: { ...bearer, ...json, "Content-Length": String(large.length) },
      headOnly: true,
    })
    expect(told.status).toBe(413)
    const chunked = await ask(port, "/v1/completions", {
      method: "POST",
      headers: { ...bearer, ...json, "Transfer-Encoding": "chunked" },
      body: large,
    })
    expect(chunked.status).toBe(413)
  })

  test("a body without the token is not read to its end", async () => {
    const { status } = await ask(port, "/v1/completions", {
      method: "POST",
      headers: json,
      body: asked,
    })
    expect(status).toBe(403)
  })
})

test("a model is never a path, and no file is served", async () => {
  for (const model of ["/etc", "../model", "./demo/model", "model/../model", "", "toString"]) {
    const body = JSON.stringify({ model, prompt: "1", max_tokens: 1 })
    const headers = { ...bearer, ...json }
    const answer = await ask(port, "/v1/completions", { method: "POST", headers, body })
    expect(answer.status).toBe(404)
    expect(JSON.parse(answer.text).error.code).toBe("model_not_found")
  }
  for (const path of ["/../package.json", "/%2e%2e/package.json", "/v1/models/..%2f..%2fetc"]) {
    expect((await ask(port, path, { headers: bearer })).status).toBe(404)
  }
})

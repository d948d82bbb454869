import { useEffect, useState } from "preact/hooks"
import { Chat } from "./chat.tsx"
import { Compare } from "./compare.tsx"
import { NewRun } from "./new-run.tsx"
import { linkTo, useRoute } from "./routes.ts"
import { RunPage } from "./run-page.tsx"
import { RunsList } from "./runs-list.tsx"
import { sendToken } from "./session.ts"
import { store, useStore } from "./store.ts"

export function App() {
  const { state, problem, isAway } = useStore()
  const { parts } = useRoute()
  useEffect(() => void store.load(), [])
  const [page = ""] = parts
  return (
    <>
      <a class="skip" href="#main">
        To the content
      </a>
      <header class="top">
        <a class="brand" href="#/">
          dftune
        </a>
        <nav aria-label="Pages">
          <a href="#/" aria-current={page === "" || page === "run" ? "page" : undefined}>
            Runs
          </a>
          <a href="#/compare" aria-current={page === "compare" ? "page" : undefined}>
            Compare
          </a>
          <a href="#/new" aria-current={page === "new" ? "page" : undefined}>
            New run
          </a>
          <a href="#/chat" aria-current={page === "chat" ? "page" : undefined}>
            Chat
          </a>
          <a href="/play/">Playground</a>
        </nav>
      </header>
      <main id="main" tabIndex={-1}>
        {state === "ready" && isAway && (
          <p class="problem" role="alert">
            The server does not answer: what is shown may be old. Runs go on without it. When{" "}
            <code>dftune serve</code> is started again, open the address that it prints.
          </p>
        )}
        {state === "no-token" && <TokenForm />}
        {state === "lost" && (
          <p class="problem" role="alert">
            {problem}
          </p>
        )}
        {state === "ready" && <Page parts={parts} />}
      </main>
    </>
  )
}

function Page({ parts }: { readonly parts: readonly string[] }) {
  const [page = "", name, part] = parts
  if (page === "") return <RunsList />
  if (page === "compare") {
    return <Compare names={(name ?? "").split(",").filter((one) => one !== "")} />
  }
  if (page === "new") return <NewRun />
  if (page === "chat") return <Chat {...(name === undefined ? {} : { run: name })} />
  if (page === "run" && name !== undefined) {
    return <RunPage key={name} name={name} {...(part === undefined ? {} : { part })} />
  }
  return (
    <p>
      There is nothing at this address. <a href={linkTo()}>All runs</a>
    </p>
  )
}

/** For an address that was opened without its token. */
function TokenForm() {
  const [problem, setProblem] = useState("")
  const send = async (event: SubmitEvent) => {
    event.preventDefault()
    const given = new FormData(event.target as HTMLFormElement).get("token")
    const token = String(given)
      .trim()
      .replace(/^.*#token=/, "")
    if (await sendToken(token)) await store.load()
    else setProblem("This server has another token: a new one at every start.")
  }
  return (
    <form class="card narrow" onSubmit={send}>
      <h1>Which server is this?</h1>
      <p class="note">
        dftune serve prints an address with a token when it starts. Open that address, or paste it
        here.
      </p>
      <label for="token">Address or token</label>
      <input id="token" name="token" type="text" autocomplete="off" spellcheck={false} required />
      <button type="submit" class="primary">
        Open
      </button>
      {problem && (
        <p class="problem" role="alert">
          {problem}
        </p>
      )}
    </form>
  )
}

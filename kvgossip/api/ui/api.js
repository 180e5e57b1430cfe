// The node, as the page asks it: with the token in a header, never in a URL and never in a cookie.
// The token lives in sessionStorage: it ends with the tab, and no other site can read it.

const ROOT = new URL('..', import.meta.url)
const KEPT = 'kvgossip.token'
const RETRY_MS = 1000

export class Refused extends Error {
  // A status that says no, in the node's words. 0: nobody has answered.
  constructor(status, error, hint = '') {
    super(error)
    Object.assign(this, { status, hint })
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEPT) ?? '',
  set: (text) => (text ? sessionStorage.setItem(KEPT, text) : sessionStorage.removeItem(KEPT)),
}

// What the shell wants to know of every request: that a token is asked for, that nobody answers.
export const told = new EventTarget()

export const keyPath = (route, key) => `${route}/${encodeURIComponent(key)}`

export function path(route, query) {
  const given = Object.entries(query).filter(([, value]) => value != null)
  return given.length ? `${route}?${new URLSearchParams(given)}` : route
}

// The response to a request. Throws Refused for every status but 2xx and those of `also`.
export async function ask(target, { headers = {}, also = [], ...options } = {}) {
  const secret = token.get()
  if (secret) headers = { ...headers, Authorization: `Bearer ${secret}` }
  const request = { ...options, headers, cache: 'no-store', credentials: 'omit' }
  let response
  try {
    response = await fetch(new URL(target, ROOT), request)
  } catch (error) {
    if (options.signal?.aborted) throw error
    told.dispatchEvent(new CustomEvent('answered', { detail: false }))
    throw new Refused(0, 'the node does not answer', 'the page tries again by itself')
  }
  told.dispatchEvent(new CustomEvent('answered', { detail: true }))
  if (response.ok || also.includes(response.status)) return response
  const said = await response.json().catch(() => ({}))
  if (response.status === 501 && secret && said.error?.includes('token')) {
    token.set('')
    return ask(target, { ...options, also })
  }
  if (response.status === 401) told.dispatchEvent(new Event('token'))
  throw new Refused(response.status, said.error ?? response.statusText, said.hint)
}

export const json = async (target, options) => (await ask(target, options)).json()

export const command = (target, body = {}) =>
  json(target, { method: 'POST', body: JSON.stringify(body) })

// The lines of a response, as they come.
export async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      const parts = (rest + value).split('\n')
      rest = parts.pop()
      yield* parts
    }
  } finally {
    reader.cancel().catch(() => {})
  }
}

// A stream of server-sent events, which goes on behind the last one whenever it breaks, until the
// signal. `hear(event, data)`. EventSource would have to put the token into the URL.
export async function follow(target, hear, signal) {
  let last = ''
  while (!signal.aborted) {
    try {
      const headers = last ? { 'Last-Event-ID': last } : {}
      const response = await ask(target, { headers, signal })
      let event = 'message'
      for await (const line of lines(response)) {
        const [, field, text] = /^(\w*): ?(.*)$/.exec(line) ?? []
        if (field === 'id') last = text
        else if (field === 'event') event = text
        else if (field === 'data') hear(event, JSON.parse(text))
        else if (line === '') event = 'message'
      }
    } catch (error) {
      if (signal.aborted) return
      if (error.status === 401 || error.status === 403) return
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
  }
}

// Calls `work` now and every so often, one call at a time, until the signal.
export async function every(intervalMs, work, signal) {
  while (!signal.aborted) {
    await work().catch((error) => {
      if (!signal.aborted && !(error instanceof Refused)) throw error
    })
    await new Promise((resolve) => setTimeout(resolve, intervalMs))
  }
}

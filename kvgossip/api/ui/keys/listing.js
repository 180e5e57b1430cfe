// The keys of a folder, in the order of the node. Any part of a million is a page away: the node
// jumps to it. What is in sight is asked for, and kept until keys come or go.

import { json, path } from '../api.js'

const PAGE = 200
const FOUND_MAX = 1000
const LOOK = 1000
const PREVIEW_BYTES = 200

export class Listing {
  constructor(prefix, { signal, changed }) {
    Object.assign(this, { prefix, signal, changed, length: null, error: null })
    this.pages = new Map()
    this.asked = new Set()
    this.page(0)
  }

  // The entry in this place; undefined while it is not known.
  entry(index) {
    return this.pages.get(Math.floor(index / PAGE))?.[index % PAGE]
  }

  // Asks for what is in sight and not known.
  seen(first, last) {
    for (let page = Math.floor(first / PAGE); page * PAGE < last; page++) this.page(page)
  }

  async page(number) {
    if (this.asked.has(number)) return
    this.asked.add(number)
    const query = { prefix: this.prefix, offset: number * PAGE, limit: PAGE }
    try {
      const { entries, keys } = await json(path('kv', query), { signal: this.signal })
      this.pages.set(number, entries)
      Object.assign(this, { length: keys, error: null })
    } catch (error) {
      if (this.signal.aborted) return
      this.error = error
      this.asked.delete(number)
    }
    this.changed()
  }

  // A key has a new value. Whether its place is known: else places may have moved.
  put({ key, version, bytes, content_type }) {
    for (const entries of this.pages.values()) {
      const found = entries.find((entry) => entry.key === key)
      if (!found) continue
      Object.assign(found, { version, bytes, content_type })
      return true
    }
    return false
  }

  // Keys have come or gone: what is in sight is asked for again, and shown until it comes.
  moved() {
    this.asked.clear()
    this.page(0)
  }
}

// The keys of a folder that have this text in them: those that begin with it first, then the others
// as they are found, by one look through all keys.
export class Search {
  constructor(prefix, text, { signal, changed }) {
    Object.assign(this, {
      prefix,
      text,
      signal,
      changed,
      found: [],
      looked: 0,
      keys: null,
      done: false,
      error: null,
    })
    this.run().catch((error) => {
      if (signal.aborted) return
      Object.assign(this, { error, done: true })
      changed()
    })
  }

  get length() {
    return this.found.length
  }

  entry(index) {
    return this.found[index]
  }

  async run() {
    const { signal, prefix, text } = this
    const begin = prefix + text
    const first = await json(path('kv', { prefix: begin, limit: PAGE }), { signal })
    this.found.push(...first.entries)
    this.changed()
    const known = new Set(this.found.map((entry) => entry.key))
    for (let after = ''; after !== null && this.length < FOUND_MAX; ) {
      const page = await json(path('kv', { prefix, after, limit: LOOK }), { signal })
      this.found.push(
        ...page.entries.filter(
          ({ key }) => key.slice(prefix.length).includes(text) && !known.has(key),
        ),
      )
      this.looked += page.entries.length
      Object.assign(this, { after: page.after, keys: page.keys })
      after = page.after
      this.changed()
    }
    this.done = true
    this.changed()
  }

  seen() {}
  moved() {}

  put({ key, version, bytes, content_type }) {
    const found = this.found.find((entry) => entry.key === key)
    if (found) Object.assign(found, { version, bytes, content_type })
    return true
  }
}

// Short values, for the rows in sight: they are read together.
export class Previews {
  constructor({ signal, changed }) {
    Object.assign(this, { signal, changed, known: new Map(), asking: false })
  }

  of({ key, version }) {
    const known = this.known.get(key)
    return known?.version === version ? known.text : null
  }

  async want(entries) {
    const wanted = entries.filter((each) => each.bytes <= PREVIEW_BYTES && this.of(each) === null)
    if (this.asking || !wanted.length) return
    this.asking = true
    const operations = wanted.slice(0, 256).map(({ key }) => ({ get: key }))
    try {
      const body = JSON.stringify({ operations })
      const { results } = await json('batch', { method: 'POST', body, signal: this.signal })
      for (const [index, entry] of wanted.slice(0, 256).entries()) {
        const { value, version } = results[index]
        this.known.set(entry.key, { version: version ?? entry.version, text: value ?? '' })
      }
      this.changed()
    } catch (error) {
      if (error.status === undefined && !this.signal.aborted) throw error
    } finally {
      this.asking = false
    }
  }
}

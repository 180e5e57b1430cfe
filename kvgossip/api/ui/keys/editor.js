// Writing a value. The version that one has read goes with it (`If-Match`), so nobody's change is
// overwritten unseen: a conflict shows both, and asks. With "wait for all" the members that hold
// the write appear as they say so.

import { ask, keyPath, lines, path } from '../api.js'
import { errorNote, h } from '../dom.js'
import { ago, ageOf, ms, writtenMs } from '../format.js'
import { drawDiff } from './diff.js'
import { shownText } from './bytes.js'

const WAIT = '30s'
const LINES = 'application/x-ndjson'

// PUT or DELETE under the condition that `version` is still there (null: that there is none); of a
// key of siblings instead of what its `context` has shown. `held(document)` gets each holder, and
// the answer at the end. Throws Refused.
export async function write(method, key, { version, context, body, type, ttl, wait }, held) {
  const headers = version ? { 'If-Match': `"${version}"` } : { 'If-None-Match': '*' }
  if (context) {
    headers['KV-Context'] = context
    delete headers['If-Match']
  }
  if (type) headers['Content-Type'] = type
  if (wait) headers.Accept = LINES
  const query = { ttl: ttl || null, wait: wait ? 'all' : null, timeout: wait ? WAIT : null }
  const response = await ask(path(keyPath('kv', key), query), { method, headers, body })
  const written = response.headers.get('KV-Version')
  for await (const line of lines(response)) if (line) held?.(JSON.parse(line))
  return written
}

// What is there now, of a key that somebody else has changed.
export async function present(key) {
  const response = await ask(keyPath('kv', key), { also: [404] })
  const data = new Uint8Array(await response.arrayBuffer())
  return {
    version: response.ok ? response.headers.get('KV-Version') : null,
    text: response.ok ? shownText(data) : null,
  }
}

// What the last line of a write says.
function wordsOf({ error, met, held_by: by, lacking, hint }) {
  if (error) return error
  const lastMs = Math.max(...by.map((each) => each.ms))
  if (met) return `all ${by.length} hold it, after ${ms(lastMs)}`
  const names = lacking.map((each) => `${each.name} (${each.state})`).join(', ')
  return `not yet held by ${names}: ${hint}`
}

// The members that hold a write, so far.
export function drawHolders(holders) {
  if (!holders) return null
  const { by, last } = holders
  const names = by.map(({ name, ms: after }) => `${name} ${ms(after)}`).join(', ')
  const words = last ? wordsOf(last) : 'waiting for the others …'
  return h(
    'div',
    { class: 'note', role: 'status' },
    h('b', {}, words),
    h('div', { class: 'soft' }, 'held by ', names || 'nobody yet'),
  )
}

export class Editor {
  // `found`: {key, version, context, text, type, ttl}; version null for a new key.
  constructor(found, { changed, done }) {
    Object.assign(this, { found, changed, done, fields: { ...found, wait: true } })
    Object.assign(this, {
      base: found.version,
      busy: false,
      error: null,
      theirs: null,
      holders: null,
    })
  }

  set(name, value) {
    this.fields[name] = value
  }

  async save(event) {
    event?.preventDefault()
    const { key, text, type, ttl, wait } = this.fields
    Object.assign(this, { busy: true, error: null, holders: wait ? { by: [] } : null })
    this.changed()
    try {
      const { context } = this.found
      const options = { version: this.base, context, body: text, type, ttl, wait }
      await write('PUT', key, options, (line) => this.hear(line))
      this.done(key, this.holders)
    } catch (error) {
      Object.assign(this, { error, holders: null })
      if (error.status === 412) this.theirs = await present(key)
    }
    this.busy = false
    this.changed()
  }

  hear(line) {
    if (!this.holders) return
    if (line.held_by && !Array.isArray(line.held_by)) this.holders.by.push(line.held_by)
    else this.holders.last = line
    this.changed()
  }

  // Write it all the same: over what is there now.
  over() {
    this.base = this.theirs.version
    this.theirs = null
    this.save()
  }

  // Without a write: back to the key, which a new one is not yet.
  take() {
    this.done(this.base === null ? null : this.fields.key, null)
  }

  draw() {
    const isNew = this.found.version === null
    const field = (name, label, options = {}) =>
      h(
        'label',
        { class: 'field' },
        label,
        h('input', {
          value: this.found[name] ?? '',
          oninput: (event) => this.set(name, event.target.value),
          ...options,
        }),
      )
    return h(
      'form',
      { class: 'editor', onsubmit: (event) => this.save(event) },
      isNew && field('key', 'Key', { required: true, class: 'mono', maxlength: 1024 }),
      h(
        'label',
        { class: 'field' },
        'Value',
        h('textarea', {
          rows: 10,
          spellcheck: 'false',
          value: this.found.text,
          oninput: (event) => this.set('text', event.target.value),
        }),
      ),
      h(
        'div',
        { class: 'pair' },
        field('type', 'Content type'),
        field('ttl', 'Lives for', { placeholder: 'for ever; or 30s, 15m, 12h' }),
      ),
      h(
        'label',
        { class: 'line' },
        h('input', {
          type: 'checkbox',
          checked: true,
          onchange: (event) => this.set('wait', event.target.checked),
        }),
        'show which members hold it',
      ),
      this.theirs
        ? this.drawConflict()
        : this.error && errorNote(this.error),
      drawHolders(this.holders),
      h(
        'div',
        { class: 'line' },
        h(
          'button',
          { class: 'first', disabled: this.busy || this.theirs !== null },
          isNew ? 'Make it' : 'Save',
        ),
        h('button', { type: 'button', onclick: () => this.take() }, 'Cancel'),
      ),
    )
  }

  drawConflict() {
    const { version, text } = this.theirs
    return h(
      'div',
      { class: 'note bad', role: 'alert' },
      h(
        'b',
        {},
        version
          ? `Somebody has changed it ${ago(ageOf(writtenMs(version)))}.`
          : 'Somebody has deleted it meanwhile.',
      ),
      h('p', {}, 'Nothing was written. Theirs (−) and yours (+):'),
      text !== null && drawDiff(text, this.fields.text),
      h(
        'div',
        { class: 'line' },
        h('button', { type: 'button', onclick: () => this.over() }, 'Write mine over it'),
        h('button', { type: 'button', onclick: () => this.take() }, 'Keep theirs'),
      ),
    )
  }
}

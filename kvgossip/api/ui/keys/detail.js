// One key: its value, what can be done with it, and the versions of it that this node remembers.

import { ask, json, keyPath, path } from '../api.js'
import { errorNote, h } from '../dom.js'
import { ago, ageOf, bytes, clock, duration, siteOf } from '../format.js'
import { hex, pretty, shownText, textOf } from './bytes.js'
import { drawDiff } from './diff.js'
import { drawHolders, Editor, write } from './editor.js'
import { drawStory, storyOf } from './story.js'
import { MERGED, TypedValue } from './typed.js'

const SHOWN_BYTES = 16 * 1024
const SHORT_BYTES = 40

export class Detail {
  constructor({ signal, changed, writer, opened }) {
    Object.assign(this, { signal, changed, writer, opened })
    this.clear()
  }

  clear() {
    this.short = new Map()
    Object.assign(this, {
      key: null,
      value: null,
      entry: null,
      history: [],
      conflicts: [],
      story: null,
      view: null,
      whole: false,
      compared: null,
      editor: null,
      error: null,
      holders: null,
      deleting: false,
      newer: false,
    })
  }

  async open(key) {
    if (key !== this.key) this.clear()
    this.key = key
    await this.load()
  }

  async load() {
    const { key, signal } = this
    try {
      const [response, page, past, lost] = await Promise.all([
        ask(keyPath('kv', key), { also: [300, 404], signal }),
        json(path('kv', { prefix: key, limit: 1 }), { signal }),
        ask(keyPath('history', key), { also: [404], signal }),
        json(path('conflicts', { prefix: key }), { signal }),
      ])
      const data = new Uint8Array(await response.arrayBuffer())
      const history = past.ok ? (await past.json()).versions : []
      if (key !== this.key) return
      const { headers } = response
      this.value =
        response.status === 404
          ? null
          : {
              data,
              version: headers.get('KV-Version'),
              type: headers.get('Content-Type') ?? '',
              kind: headers.get('KV-Type'),
              context: headers.get('KV-Context'),
              several: response.status === 300,
            }
      this.entry = page.entries.find((each) => each.key === key) ?? null
      const conflicts = lost.conflicts.filter((each) => each.key === key)
      Object.assign(this, { history, conflicts, error: null, newer: false })
      this.readShort().catch(() => {})
      this.readStory().catch(() => {})
    } catch (error) {
      if (signal.aborted || key !== this.key) return
      this.error = error
    }
    this.changed()
  }

  // Versions never change: short ones are read once, and shown as they are.
  async readShort() {
    for (const { version, deleted, bytes: size } of this.history)
      if (!deleted && size <= SHORT_BYTES && !this.short.has(version))
        this.short.set(version, textOf((await this.past(version)).data))
    this.changed()
  }

  async readStory() {
    const { key, signal } = this
    const story = await storyOf(key, signal)
    if (key !== this.key) return
    this.story = story
    this.changed()
  }

  // A change of a key has been told.
  heard(key, version) {
    if (key !== this.key || version === this.value?.version) return
    if (this.editor) this.newer = true
    else this.load()
  }

  create(folder) {
    this.clear()
    this.edit({ key: folder, version: null, text: '', type: 'text/plain', ttl: '' })
  }

  edit(found) {
    this.holders = null
    this.editor = new Editor(found, {
      changed: this.changed,
      done: (key, holders) => {
        this.editor = null
        this.key = key
        this.holders = holders
        this.opened(key)
      },
    })
    this.changed()
  }

  editPresent() {
    const { data, version, context, type } = this.value
    const left = this.entry?.expires_ms
      ? Math.ceil((this.entry.expires_ms - Date.now()) / 1000)
      : null
    const ttl = left ? `${left}s` : ''
    this.edit({ key: this.key, version, context, text: textOf(data), type, ttl })
  }

  async remove() {
    const { version, context } = this.value
    await this.act(() => write('DELETE', this.key, { version, context }))
    this.deleting = false
  }

  async compare(version) {
    if (this.compared?.version === version) this.compared = null
    else
      await this.act(async () => {
        this.compared = { version, text: shownText((await this.past(version)).data) }
      }, false)
    this.changed()
  }

  async past(version) {
    const response = await ask(path(keyPath('history', this.key), { version }), {
      signal: this.signal,
    })
    return {
      data: new Uint8Array(await response.arrayBuffer()),
      type: response.headers.get('Content-Type'),
    }
  }

  async rollBack(version) {
    await this.act(async () => {
      const { data, type } = await this.past(version)
      this.holders = { by: [] }
      const { version: present = null, context } = this.value ?? {}
      const options = { version: present, context, body: data, type, wait: true }
      await write('PUT', this.key, options, (line) => {
        if (line.held_by && !Array.isArray(line.held_by)) this.holders.by.push(line.held_by)
        else this.holders.last = line
        this.changed()
      })
      this.compared = null
    })
  }

  async act(work, reload = true) {
    try {
      await work()
      this.error = null
    } catch (error) {
      Object.assign(this, { error, holders: null })
      if (error.status === undefined) throw error
      if (error.status === 412)
        error.hint = 'it has changed meanwhile: look at it again, then repeat'
    }
    if (reload) await this.load()
  }

  // -- drawing --

  draw() {
    if (this.editor)
      return h(
        'section',
        { class: 'panel detail', 'aria-label': 'Edit' },
        h('h2', { class: 'mono' }, this.editor.found.version ? this.key : 'A new key'),
        this.newer && h('p', { class: 'note' }, 'This key has just been changed by somebody else.'),
        this.editor.draw(),
      )
    if (this.key === null)
      return h(
        'section',
        { class: 'panel detail', 'aria-label': 'Key' },
        h('p', { class: 'empty' }, 'Choose a key to see its value and its history.'),
      )
    return h(
      'section',
      { class: 'panel detail', 'aria-label': 'Key' },
      h('h2', { class: 'mono' }, this.key, this.value && h('small', {}, this.summary())),
      this.error && errorNote(this.error),
      this.drawConflict(),
      this.value
        ? this.drawValue()
        : !this.error && h('p', { class: 'empty' }, 'There is no such key now.'),
      drawHolders(this.holders),
      this.history.length > 0 && this.drawHistory(),
      this.story && drawStory(this.story),
    )
  }

  // Of the last conflict, while nobody has written since: what was kept, and what was lost.
  drawConflict() {
    const present = this.history.find((each) => each.present)?.version ?? this.value?.version
    const found = this.conflicts.filter(({ kept }) => kept.version === present)
    if (!found.length) return null
    const name = ({ by, site }) => by ?? this.writer(site)
    return h(
      'div',
      { class: 'note bad conflict', role: 'alert' },
      h('b', {}, 'Two writes did not know of each other: one was lost.'),
      found.map(({ lost, kept }) =>
        h(
          'div',
          { key: lost.version, class: 'line' },
          h(
            'span',
            { title: `${lost.version} has lost to ${kept.version}` },
            `${name(lost)} ${lost.deleted ? 'deleted it' : `wrote ${bytes(lost.bytes)}`} at `,
            `${clock(lost.written_ms)}; ${name(kept)}’s is kept, of ${clock(kept.written_ms)}.`,
          ),
          !lost.deleted &&
            h(
              'button',
              {
                'aria-expanded': this.compared?.version === lost.version,
                onclick: () => this.compare(lost.version),
              },
              'Compare',
            ),
          h(
            'button',
            { onclick: () => (lost.deleted ? this.remove() : this.rollBack(lost.version)) },
            lost.deleted ? 'Delete it again' : 'Restore the other',
          ),
        ),
      ),
    )
  }

  // True of a key that is edited, and not written over.
  get isMerged() {
    return MERGED.includes(this.value?.kind)
  }

  summary() {
    const { data, type, kind } = this.value,
      left = this.entry?.expires_ms
    return [
      kind,
      !this.isMerged && (type || 'no content type'),
      bytes(data.length),
      left && `expires in ${duration((left - Date.now()) / 1000)}`,
    ]
      .filter(Boolean)
      .join(', ')
  }

  drawTyped() {
    const act = (work) => this.act(work)
    return [
      new TypedValue(this.key, this.value, { act }).draw(),
      h('div', { class: 'line' }, this.drawDelete()),
    ]
  }

  drawDelete() {
    return this.deleting
      ? [
          h('button', { class: 'bad', onclick: () => this.remove() }, 'Delete it on all nodes'),
          h('button', { onclick: () => this.show({ deleting: false }) }, 'Keep it'),
        ]
      : h('button', { onclick: () => this.show({ deleting: true }) }, 'Delete')
  }

  drawValue() {
    if (this.isMerged || this.value.several) return this.drawTyped()
    const { data } = this.value,
      text = textOf(data),
      lines = pretty(text)
    const views = { JSON: lines, text, hex: 'hex' }
    const names = Object.keys(views).filter((name) => views[name] !== null)
    const view = names.includes(this.view) ? this.view : names[0]
    const most = this.whole ? Infinity : SHOWN_BYTES
    const shown = view === 'hex' ? hex(data, most) : views[view].slice(0, most)
    return [
      h(
        'div',
        { class: 'line', role: 'group', 'aria-label': 'Show it as' },
        names.map((name) =>
          h(
            'button',
            { key: name, 'aria-pressed': name === view, onclick: () => this.show({ view: name }) },
            name,
          ),
        ),
      ),
      h(
        'pre',
        { tabindex: 0, 'aria-label': 'Value', class: view === 'hex' ? 'hex' : '' },
        shown || ' ',
      ),
      data.length > most &&
        h(
          'button',
          { class: 'plain', onclick: () => this.show({ whole: true }) },
          `show all ${bytes(data.length)}`,
        ),
      h(
        'div',
        { class: 'line' },
        h(
          'button',
          {
            class: 'first',
            disabled: text === null,
            title: text === null ? 'it is no text: write it with kvgossip put' : null,
            onclick: () => this.editPresent(),
          },
          'Edit',
        ),
        h('button', { onclick: () => navigator.clipboard?.writeText(shown) }, 'Copy'),
        this.drawDelete(),
      ),
    ]
  }

  show(state) {
    Object.assign(this, state)
    this.changed()
  }

  drawHistory() {
    return [
      h('h2', { class: 'apart' }, 'History', h('small', {}, 'what this node remembers')),
      h(
        'ol',
        { class: 'history' },
        this.history.map((each) => this.drawVersion(each)),
      ),
    ]
  }

  drawVersion({ version, present, written_ms: atMs, by, deleted, bytes: size }) {
    const isOpen = this.compared?.version === version
    return h(
      'li',
      { key: version, class: present ? 'present' : null },
      h('b', { class: 'mono' }, deleted ? 'deleted' : (this.short.get(version) ?? bytes(size))),
      present ? ' now ' : ' ',
      this.conflicts.some(({ lost }) => lost.version === version) &&
        h('span', { class: 'lost', title: 'the other writer had not seen it' }, ' lost unseen '),
      h(
        'small',
        { title: version },
        `${by ?? this.writer(siteOf(version))}, ${clock(atMs)}, ${ago(ageOf(atMs))}`,
      ),
      !present &&
        !deleted &&
        h(
          'span',
          { class: 'acts' },
          h(
            'button',
            { class: 'plain', 'aria-expanded': isOpen, onclick: () => this.compare(version) },
            isOpen ? 'hide' : 'compare',
          ),
          ' ',
          !this.isMerged &&
            h('button', { class: 'plain', onclick: () => this.rollBack(version) }, 'roll back'),
        ),
      isOpen && drawDiff(this.compared.text, this.value ? shownText(this.value.data) : ''),
    )
  }
}

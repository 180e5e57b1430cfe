// Keys: a tree of folders, the keys of one, and one key. What changes is marked as it happens.

import { follow, json, path } from '../api.js'
import { errorNote, h } from '../dom.js'
import { ago, ageOf, bytes, count, duration, number, siteOf, writtenMs } from '../format.js'
import { Detail } from '../keys/detail.js'
import { Listing, Previews, Search } from '../keys/listing.js'
import { Tree } from '../keys/tree.js'
import { List } from '../list.js'

export const title = 'Keys'

const MARK_MS = 4000
const MOVED_MS = 500
const TREE_MS = 10_000
const NARROW_PX = 1180

export function open(view) {
  const page = new Keys(view)
  page.go(view.query)
  return page
}

class Keys {
  constructor(view) {
    Object.assign(this, {
      view,
      folder: '',
      text: '',
      key: null,
      sites: new Map(),
      marks: new Map(),
    })
    const changed = () => this.draw(),
      { signal } = view
    this.tree = new Tree({ changed, choose: (prefix) => this.show({ folder: prefix, text: '' }) })
    this.detail = new Detail({
      signal,
      changed,
      writer: (site) => this.writer(site),
      opened: (key) => this.opened(key),
    })
    this.list = new List({
      label: 'keys',
      row: (index) => this.row(index),
      seen: (first, last) => this.seen(first, last),
      choose: (index) => this.choose(index),
      isChosen: (index) => this.key !== null && this.listing.entry(index)?.key === this.key,
    })
    signal.addEventListener('abort', () => clearInterval(this.timer))
    this.timer = setInterval(() => this.tree.refresh(signal), TREE_MS)
    this.tree.load('', signal)
    this.learnSites()
  }

  // -- where it is: the address of the page says it --

  show({ folder = this.folder, text = this.text, key = null }) {
    location.hash = path('keys', { in: folder || null, find: text || null, key })
  }

  go(query) {
    const folder = query.get('in') ?? '',
      text = query.get('find') ?? ''
    const key = query.get('key')
    if (!this.listing || folder !== this.folder || text !== this.text) this.look(folder, text)
    const isOther = key && key !== this.detail.key
    if (isOther) this.detail.open(key)
    else if (!key && !this.detail.editor) this.detail.clear()
    this.key = key
    this.draw()
    // where they stand one above the other, what was chosen comes into sight
    if (isOther && innerWidth < NARROW_PX) document.querySelector('.detail').scrollIntoView()
  }

  look(folder, text) {
    Object.assign(this, { folder, text })
    this.looking?.abort()
    this.looking = new AbortController()
    const signal = AbortSignal.any([this.view.signal, this.looking.signal])
    const parts = { signal, changed: () => this.draw() }
    this.listing = text ? new Search(folder, text, parts) : new Listing(folder, parts)
    this.previews = new Previews(parts)
    this.tree.reveal(folder, signal)
    this.list.reset()
    follow(
      path('watch', { prefix: folder, coalesce: '300ms' }),
      (event, data) => this.hear(event, data),
      signal,
    )
  }

  // The detail has written this key, or has given up (null).
  opened(key) {
    if (key === this.key) this.detail.load()
    else this.show({ key })
    this.draw()
  }

  // -- what it hears --

  hear(event, data) {
    if (event === 'put') {
      this.mark(data.key)
      if (!this.listing.put(data)) this.moved()
    } else if (event === 'delete' || event === 'expire' || event === 'synced') this.moved()
    this.detail.heard(data.key, data.version)
    // many may come within one frame
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0
      this.draw()
    })
  }

  // The oldest marks stand first.
  mark(key) {
    const now = Date.now()
    this.marks.delete(key)
    this.marks.set(key, now)
    for (const [marked, since] of this.marks) {
      if (now - since < MARK_MS) break
      this.marks.delete(marked)
    }
  }

  // Keys have come or gone. The counts of folders are looked at again by themselves.
  moved() {
    this.moving ??= setTimeout(() => {
      this.moving = null
      if (!this.view.signal.aborted) this.listing.moved()
    }, MOVED_MS)
  }

  async learnSites() {
    const { members } = await json('members').catch(() => ({ members: [] }))
    this.sites = new Map(members.map(({ site, name }) => [site, name]))
    this.draw()
  }

  writer(site) {
    return this.sites.get(site) ?? `a life ${site.slice(-8)}`
  }

  // -- the list --

  seen(first, last) {
    this.listing.seen(first, last)
    const known = []
    for (let index = first; index < last; index++) known.push(this.listing.entry(index))
    this.previews.want(known.filter(Boolean))
  }

  choose(index) {
    const entry = this.listing.entry(index)
    if (entry) this.show({ key: entry.key })
  }

  row(index) {
    const entry = this.listing.entry(index)
    if (!entry) return null
    const { key, version, bytes: size, expires_ms: expires } = entry
    const isMarked = Date.now() - (this.marks.get(key) ?? 0) < MARK_MS
    const preview = this.previews.of(entry)
    return [
      h(
        'span',
        { role: 'gridcell', class: 'mono', title: key },
        h('i', { class: isMarked ? 'mark on' : 'mark', 'aria-hidden': 'true' }),
        key.slice(this.folder.length) || '(the folder itself)',
      ),
      h(
        'span',
        { role: 'gridcell', class: 'mono' },
        preview ?? h('span', { class: 'soft' }, bytes(size)),
        expires &&
          h('small', { class: 'soft' }, ` expires in ${duration((expires - Date.now()) / 1000)}`),
      ),
      h('span', { role: 'gridcell' }, ago(ageOf(writtenMs(version)))),
      h('span', { role: 'gridcell' }, this.writer(siteOf(version))),
    ]
  }

  // -- drawing --

  draw() {
    this.list.length = this.listing.length ?? 0
    this.list.draw()
    this.view.draw(
      h(
        'div',
        { class: 'keys' },
        h(
          'section',
          { class: 'panel folders', 'aria-label': 'Folders' },
          this.tree.draw(this.folder),
        ),
        this.drawList(),
        this.detail.draw(),
      ),
    )
  }

  drawList() {
    const { error, length } = this.listing
    return h(
      'section',
      { class: 'panel list', 'aria-label': 'Keys of the folder' },
      h(
        'div',
        { class: 'line' },
        h('h2', { class: 'mono' }, this.folder || 'all keys', h('small', {}, this.howMany())),
        h('button', { onclick: () => this.create() }, 'New key'),
      ),
      h(
        'form',
        { class: 'line', onsubmit: (event) => this.filter(event) },
        h('input', {
          name: 'text',
          type: 'search',
          value: this.text,
          placeholder: 'Keys that contain …',
          'aria-label': 'Keys that contain',
        }),
        h('input', {
          name: 'folder',
          value: this.folder,
          class: 'mono',
          placeholder: 'prefix',
          'aria-label': 'Prefix',
        }),
        h('button', {}, 'Show'),
      ),
      error && errorNote(error, 'Write a prefix that your token may read, and press Show.'),
      h(
        'div',
        { class: 'row heads', 'aria-hidden': 'true' },
        ['Key', 'Value', 'Changed', 'By'].map((name) => h('span', {}, name)),
      ),
      h('div', {
        class: 'rows',
        role: 'grid',
        tabindex: 0,
        'aria-label': 'Keys',
        'aria-colcount': 4,
        ref: (host) => this.list.mount(host),
      }),
      length === 0 &&
        !error &&
        h('p', { class: 'empty' }, this.text ? 'No key has that in it.' : 'There is no key here.'),
    )
  }

  howMany() {
    const { length, looked, keys, done } = this.listing
    const soFar = done ? '' : `, looked at ${number(looked)} of ${number(keys)}`
    if (this.text) return `${count(length, 'key')} with “${this.text}”${soFar}`
    return length === null ? 'asking …' : count(length, 'key')
  }

  filter(event) {
    event.preventDefault()
    const { text, folder } = event.target.elements
    this.show({ text: text.value, folder: folder.value })
  }

  create() {
    this.key = null
    this.detail.create(this.folder)
    this.draw()
  }
}

// The tree of folders: what keys have up to their next slash, each with how many it holds. A folder
// is asked for when it is opened, and the open ones again from time to time.

import { json, path } from '../api.js'
import { h } from '../dom.js'
import { number } from '../format.js'

const PAGE = 200

export class Tree {
  constructor({ choose, changed }) {
    Object.assign(this, { choose, changed, folders: new Map(), opened: new Set(['']), at: '' })
  }

  // Reads all open folders again.
  async refresh(signal) {
    await Promise.all([...this.opened].map((prefix) => this.load(prefix, signal)))
  }

  async load(prefix, signal) {
    const limit = Math.max(PAGE, this.folders.get(prefix)?.folders.length ?? 0)
    try {
      const page = await json(path('folders', { prefix, limit: Math.min(limit, 1000) }), { signal })
      this.folders.set(prefix, page)
    } catch (error) {
      if (signal?.aborted) return
      this.folders.set(prefix, { folders: [], keys: null, after: null, error })
    }
    this.changed()
  }

  async more(prefix) {
    const known = this.folders.get(prefix)
    const page = await json(path('folders', { prefix, after: known.after, limit: 1000 }))
    this.folders.set(prefix, { ...page, folders: [...known.folders, ...page.folders] })
    this.changed()
  }

  // Opens all that leads to this prefix.
  reveal(prefix, signal) {
    for (let cut = prefix.indexOf('/'); cut >= 0; cut = prefix.indexOf('/', cut + 1))
      this.open(prefix.slice(0, cut + 1), signal)
    this.at = prefix
  }

  open(prefix, signal) {
    if (this.opened.has(prefix)) return
    this.opened.add(prefix)
    this.load(prefix, signal)
  }

  toggle(prefix) {
    if (this.opened.has(prefix)) this.opened.delete(prefix)
    else this.open(prefix)
    this.changed()
  }

  // The folders in sight, from above to below.
  *rows(prefix = '', level = 2) {
    if (level === 2) yield { prefix: '', level: 1, keys: this.folders.get('')?.keys }
    const known = this.folders.get(prefix)
    for (const each of known?.folders ?? []) {
      yield { ...each, level, parent: prefix }
      if (this.opened.has(each.prefix)) yield* this.rows(each.prefix, level + 1)
    }
    if (known?.after != null) yield { more: prefix, level }
  }

  onKey(event) {
    const rows = [...this.rows()].filter((row) => row.more === undefined)
    const place = Math.max(
        0,
        rows.findIndex((row) => row.prefix === this.at),
      ),
      row = rows[place]
    const isOpen = this.opened.has(row.prefix)
    let next = row
    if (event.key === 'ArrowDown') next = rows[place + 1]
    else if (event.key === 'ArrowUp') next = rows[place - 1]
    else if (event.key === 'Home') next = rows[0]
    else if (event.key === 'End') next = rows.at(-1)
    else if (event.key === 'ArrowRight' && isOpen) next = rows[place + 1]
    else if (event.key === 'ArrowRight') this.toggle(row.prefix)
    else if (event.key === 'ArrowLeft' && isOpen && row.prefix) this.toggle(row.prefix)
    else if (event.key === 'ArrowLeft') next = rows.find((each) => each.prefix === row.parent)
    else if (event.key === 'Enter' || event.key === ' ') this.choose(row.prefix)
    else return
    event.preventDefault()
    this.at = (next ?? row).prefix
    this.changed()
    event.currentTarget.querySelector('[tabindex="0"]')?.focus()
  }

  draw(chosen) {
    const rows = [...this.rows()]
    const reached = rows.some((row) => row.prefix === this.at) ? this.at : ''
    return h(
      'div',
      {
        class: 'tree mono',
        role: 'tree',
        'aria-label': 'Folders',
        onkeydown: (event) => this.onKey(event),
      },
      rows.map((row) => this.row(row, chosen, reached)),
    )
  }

  row({ prefix, more, level, keys }, chosen, reached) {
    const indent = { 'padding-left': `${8 + (level - 1) * 14}px` }
    if (more !== undefined)
      return h(
        'button',
        {
          key: `more ${more}`,
          class: 'plain',
          role: 'treeitem',
          'aria-level': level,
          onclick: () => this.more(more),
          style: indent,
        },
        'more folders …',
      )
    const isOpen = this.opened.has(prefix),
      name = prefix.slice(0, -1).split('/').at(-1)
    return h(
      'div',
      {
        key: prefix,
        class: 'folder',
        role: 'treeitem',
        'aria-level': level,
        'aria-expanded': isOpen,
        'aria-selected': prefix === chosen,
        style: indent,
        tabindex: prefix === reached ? 0 : -1,
        onclick: () => this.pick(prefix),
      },
      h(
        'i',
        { 'aria-hidden': 'true', onclick: (event) => this.turn(event, prefix) },
        isOpen ? '▾' : '▸',
      ),
      h('b', {}, prefix ? `${name}/` : 'all keys'),
      h('span', {}, number(keys)),
    )
  }

  pick(prefix) {
    this.at = prefix
    if (!this.opened.has(prefix)) this.open(prefix)
    this.choose(prefix)
  }

  turn(event, prefix) {
    event.stopPropagation()
    if (prefix) this.toggle(prefix)
  }
}
